/**
 * Whether this machine's clock can be right. A gc that dates its checkpoint years back has the next one delete at once what
 * it replaces, for by then the grace period looks long over; and what it reads as old, or as new, is not.
 */
import type { CacheView } from '../cache/read/view.ts';
import { parseTag } from '../cache-index/tags.ts';
import { NixcacheError } from '../errors.ts';

/** When there was no nixcache yet. */
const EARLIEST = Date.UTC(2025, 0, 1);
/** 30 days: clocks that are days apart are borne, see the model; no clock that is kept is further off. */
const MAX_AHEAD_MS = 30 * 24 * 60 * 60 * 1000;

/** @throws {NixcacheError} ERR_IO, before anything was written */
export function assertClock(now: Date, { tags }: Pick<CacheView, 'tags'>, name: string): void {
  const says = `gc stopped before it changed anything: the clock of this machine says ${now.toISOString()}`;
  if (now.getTime() < EARLIEST) throw new NixcacheError('ERR_IO', `${says}; set it right, and run gc again`);
  let newest: { readonly tag: string; readonly time: number } | undefined;
  for (const tag of tags) {
    const parsed = parseTag(tag);
    if (parsed && parsed.time > (newest?.time ?? 0)) newest = parsed;
  }
  if (newest === undefined || newest.time <= now.getTime() + MAX_AHEAD_MS) return;
  throw new NixcacheError(
    'ERR_IO',
    `${says}, and ${newest.tag} of ${name} is of ${new Date(newest.time).toISOString()}; set the clock right, ` +
      'or, if that of a publisher was wrong, publish the same again and delete that tag',
  );
}

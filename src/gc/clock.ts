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

/** oras deletes by tag from layouts and registries, which other tools do from registries alone; GHCR lets only GitHub delete. */
const deletionOf = (tag: string, name: string): string =>
  name.startsWith('ghcr.io/')
    ? 'the version of the package with that tag, on GitHub'
    : `oras manifest delete ${name.replace(/^oci:/, '--oci-layout ')}:${tag}`;

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
  const from = new Date(newest.time - MAX_AHEAD_MS).toISOString();
  throw new NixcacheError(
    'ERR_IO',
    `${says}, and ${newest.tag} of ${name} is of ${new Date(newest.time).toISOString()}; set the clock right. If it was the ` +
      'clock of a publisher that was wrong, delete the manifest of that tag ' +
      `(${deletionOf(newest.tag, name)}), and publish the same again; or leave it: gc runs again from ${from} on`,
  );
}

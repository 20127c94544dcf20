/**
 * Tag names, which carry the authority of the format: `seg-<time>-<id>` and `ckpt-<time>-<id>`, written once each.
 *
 * `<time>` is a ULID in lower case: 48 bits of milliseconds, then 80 of chance, so that names sort by time and no two
 * writers ever choose the same. `<id>` is the digest, in hex, of the blob a reader wants next: a segment's entries, a
 * checkpoint's config. Incompatible successors take another prefix (`seg2-`), which this version recognises as newer.
 */
import { decodeTime, incrementBase32, ulid } from 'ulid';
import { NixcacheError } from '../errors.ts';
import { type Digest, digestFromHex, hexOf } from '../oci/digest.ts';

export const CACHE_INDEX_TAG = 'cache-index';

export interface SegmentTag {
  readonly kind: 'segment' | 'checkpoint' | 'record';
  readonly tag: string;
  /** Unix milliseconds by the writer's clock: a hint for order and retention, never for liveness. */
  readonly time: number;
  readonly id: Digest;
}

const KINDS = { seg: 'segment', ckpt: 'checkpoint', rec: 'record' } as const;
const TAG = /^(seg|ckpt|rec)-([0-7][0-9a-hjkmnp-tv-z]{25})-([0-9a-f]{64})$/;
const NEWER = /^(seg|ckpt|rec)[0-9]+-/;

export const segmentTag = (entries: Digest, now: Date): string => `seg-${uniqueTime(now)}-${hexOf(entries)}`;

/** A name that sorts right behind the segment `tag`, and before what comes a millisecond later. @throws {NixcacheError} ERR_IO */
export const segmentTagBehind = (entries: Digest, tag: string): string => `seg-${timeBehind(tag)}-${hexOf(entries)}`;

export const checkpointTag = (config: Digest, now: Date): string => `ckpt-${uniqueTime(now)}-${hexOf(config)}`;

/** The tag of a checkpoint's record: no manifest goes untagged, since some registries reap those below an index. */
export const recordTag = (checkpoint: string): string => checkpoint.replace(/^ckpt-/, 'rec-');

/** The checkpoint that a record belongs to. */
export const checkpointOf = (record: string): string => record.replace(/^rec-/, 'ckpt-');

/** @throws {NixcacheError} ERR_IO when the clock is where no tag's time can be */
function uniqueTime(now: Date): string {
  const ms = now.getTime();
  if (ms > 0 && ms <= MAX_TIME_MS) return ulid(ms).toLowerCase();
  const when = Number.isNaN(ms) ? 'no time at all' : now.toISOString();
  throw new NixcacheError('ERR_IO', `the clock of this machine says ${when}: set it right, and try again`);
}

/** The time of `tag`, the upper half of its chance counted up, and new chance: 40 bits, so that this is unique too. */
function timeBehind(tag: string): string {
  const [, , time = ''] = TAG.exec(tag) ?? [];
  const now = new Date(parseTag(tag)?.time ?? Number.NaN);
  const fresh = uniqueTime(now);
  const [milliseconds, upper] = [time.slice(0, 10), time.slice(10, 18)];
  if (/^z+$/.test(upper)) return uniqueTime(new Date(now.getTime() + 1));
  return `${milliseconds}${incrementBase32(upper.toUpperCase()).toLowerCase()}${fresh.slice(18)}`;
}

/** The 48 bits of a ULID. */
const MAX_TIME_MS = 2 ** 48 - 1;

/** What `tag` names, or undefined if it is not one of ours. */
export function parseTag(tag: string): SegmentTag | undefined {
  const match = TAG.exec(tag);
  if (!match) return undefined;
  const [, prefix, time = '', hex = ''] = match;
  return {
    kind: KINDS[prefix as keyof typeof KINDS],
    tag,
    time: decodeTime(time.toUpperCase()),
    id: digestFromHex(hex),
  };
}

/** Whether `tag` belongs to a later, incompatible version of the format. */
export const isNewerTag = (tag: string): boolean => NEWER.test(tag);

/** Parts of content, in bytes. */
import { NixcacheError } from '../errors.ts';

/** A part of a blob; at least one byte, for HTTP cannot ask for none. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** From `offset` on, to the end unless `length` is given. */
export interface OpenRange {
  readonly offset: number;
  readonly length?: number | undefined;
}

/**
 * Refuses a range, of `what`, that is empty or not within `target.size` (where that is known).
 *
 * @throws {NixcacheError} ERR_RANGE
 */
export function checkRange(
  target: { readonly digest: string; readonly size?: number | undefined },
  range: ByteRange,
  what = `blob ${target.digest}`,
): void {
  const { offset, length } = range;
  const end = offset + length;
  const whole = Number.isSafeInteger(end) && Number.isSafeInteger(offset);
  if (whole && offset >= 0 && length > 0 && end <= (target.size ?? end)) return;
  const size = target.size === undefined ? '' : `, which has ${target.size}`;
  throw new NixcacheError('ERR_RANGE', `${length} bytes from ${offset} on are not in ${what}${size}`);
}

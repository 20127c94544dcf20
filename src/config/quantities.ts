/** Durations and sizes as people write them: `45s`, `90m`, `12h`, `30d`, `2w`; `500M`, `2GiB`. */
import { NixcacheError } from '../errors.ts';

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
/** A century, in seconds: longer ones are typing errors, and would leave the range of dates. */
const MAX_SECONDS = 100 * 366 * 86_400;

/**
 * Seconds in `text`. A number without a unit is refused, since 30 may be days or seconds; `bareSeconds` takes it as
 * seconds, where that has always been the unit.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export function parseDuration(text: string, options: { readonly bareSeconds?: boolean } = {}): number {
  const match = /^(\d{1,12})([smhdw]?)$/.exec(text.trim());
  const [, digits = '', unit = ''] = match ?? [];
  const seconds = Number(digits) * (SECONDS[unit === '' && options.bareSeconds ? 's' : unit] ?? Number.NaN);
  if (match === null || Number.isNaN(seconds)) {
    throw new NixcacheError('ERR_USAGE', `'${text}' is not a duration: write it like 30d, 12h, 90m, 45s or 2w`);
  }
  if (seconds > MAX_SECONDS) {
    throw new NixcacheError('ERR_USAGE', `'${text}' is too long a duration: at most 100 years`);
  }
  return seconds;
}

/** `M` and `MiB` are 1024², `MB` is 1000², as dd and coreutils have it. */
const PREFIXES = 'kmgt';

/** Bytes in `text`: `500M`, `2GiB`, `1.5G`, `250MB`, `65536`. @throws {NixcacheError} ERR_USAGE */
export function parseByteSize(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?b)?|b)?$/i.exec(text.trim());
  const [, digits = '', prefix = '', suffix = ''] = match ?? [];
  const power = prefix === '' ? 0 : PREFIXES.indexOf(prefix.toLowerCase()) + 1;
  const bytes = Math.round(Number(digits) * (suffix.toLowerCase() === 'b' ? 1000 : 1024) ** power);
  if (match === null || !Number.isSafeInteger(bytes)) {
    throw new NixcacheError('ERR_USAGE', `'${text}' is not a size: write it like 500M, 2GiB or 65536`);
  }
  return bytes;
}

/** Sizes as people write them. `M` and `MiB` are 1024², `MB` is 1000², as dd and the GNU tools have it. */
import { NixcacheError } from '../errors.ts';

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

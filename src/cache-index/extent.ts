/** Where bytes lie in the registry: `sha256:<hex>@<offset>+<length>`, several of them end to end, space separated. */
import { NixcacheError } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';

export interface Extent {
  /** The blob. */
  readonly digest: Digest;
  /** Bytes into the blob. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

export const totalLength = (extents: readonly Extent[]): number => extents.reduce((sum, { length }) => sum + length, 0);

export const formatExtents = (extents: readonly Extent[]): string =>
  extents.map(({ digest, offset, length }) => `${digest}@${offset}+${length}`).join(' ');

const EXTENT = /^(sha256:[0-9a-f]{64})@([0-9]{1,15})\+([0-9]{1,15})$/;

/** A manifest has 1000 layers at most, and writers make 300 parts. */
const MAX_EXTENTS = 1000;

/** @throws {NixcacheError} ERR_FORMAT */
export function parseExtents(text: string): Extent[] {
  const words = text.split(' ', MAX_EXTENTS + 1);
  if (words.length > MAX_EXTENTS) throw new NixcacheError('ERR_FORMAT', `there are more than ${MAX_EXTENTS} extents`);
  return words.map((word) => {
    const [, digest = '', offset, length] = EXTENT.exec(word) ?? [];
    if (!isDigest(digest)) throw new NixcacheError('ERR_FORMAT', `'${word}' is not an extent (sha256:…@offset+length)`);
    return { digest, offset: Number(offset), length: Number(length) };
  });
}

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

/** @throws {NixcacheError} ERR_FORMAT */
export function parseExtents(text: string): Extent[] {
  return text.split(' ').map((word) => {
    const [, digest = '', offset, length] = EXTENT.exec(word) ?? [];
    if (!isDigest(digest)) throw new NixcacheError('ERR_FORMAT', `'${word}' is not an extent (sha256:…@offset+length)`);
    return { digest, offset: Number(offset), length: Number(length) };
  });
}

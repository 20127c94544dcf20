/** OCI digests: `sha256:<64 lower-case hex>`. Not a NixHash. opencontainers/image-spec v1.1.1 descriptor.md#digests */
import { createHash } from 'node:crypto';
import { NixcacheError } from '../errors.ts';

export type Digest = string & { readonly __brand: 'Digest' };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export const isDigest = (text: string): text is Digest => DIGEST.test(text);

/** @throws {NixcacheError} ERR_REGISTRY: digests come from registries and layouts */
function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new NixcacheError('ERR_REGISTRY', `'${text}' is not a sha256 digest`);
  return text;
}

export const digestOf = (bytes: Uint8Array): Digest =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;

export const digestFromHex = (hex: string): Digest => parseDigest(`sha256:${hex}`);

/** The 64 hex characters. */
export const hexOf = (digest: Digest): string => digest.slice('sha256:'.length);

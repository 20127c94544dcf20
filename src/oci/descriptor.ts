import * as z from 'zod/mini';
import { type Digest, digestOf, isDigest } from './digest.ts';

/** What points at content. opencontainers/image-spec v1.1.1 descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.custom<Digest>((value) => typeof value === 'string' && isDigest(value), 'not a sha256 digest'),
  size: z.number().check(z.int(), z.nonnegative()),
  artifactType: z.optional(z.string()),
  annotations: z.optional(z.record(z.string(), z.string())),
});

/** The descriptor of `bytes`. */
export const describe = (mediaType: string, bytes: Uint8Array): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

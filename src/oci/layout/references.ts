/** What a manifest of any kind names, read loosely: an image layout may hold Docker's and anyone's. */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { type Descriptor, descriptorSchema } from '../descriptor.ts';
import { type Digest, isDigest } from '../digest.ts';
import { IMAGE_INDEX, IMAGE_MANIFEST } from '../manifest.ts';

export interface ManifestContent {
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  /** Config and layers. */
  readonly blobs: readonly Descriptor[];
  /** Of an index. */
  readonly manifests: readonly Descriptor[];
  /** What it is attached to, which need not be there (distribution-spec v1.1.1, "Pushing manifests with subject"). */
  readonly subject: Descriptor | undefined;
}

const contentSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.optional(z.string()),
  artifactType: z.optional(z.string()),
  config: z.optional(descriptorSchema),
  layers: z.optional(z.array(descriptorSchema)),
  manifests: z.optional(z.array(descriptorSchema)),
  subject: z.optional(descriptorSchema),
});

/** @throws {NixcacheError} ERR_INDEX, `what` naming the manifest */
export function decodeManifestContent(bytes: Uint8Array, what: string): ManifestContent {
  const content = tryDecode(bytes);
  if (!(content instanceof Error)) return content;
  throw new NixcacheError('ERR_INDEX', `${what} is no OCI manifest: ${messageOf(content)}`, { cause: content });
}

/** Undefined for bytes that are no manifest. */
export function sniffManifest(bytes: Uint8Array): ManifestContent | undefined {
  const content = tryDecode(bytes);
  return content instanceof Error ? undefined : content;
}

/**
 * Every digest that a JSON object names anywhere: what a manifest of a kind that we do not know may refer to, under whatever
 * key (`blobs`, `fsLayers`). Undefined for bytes that are none, or are beyond the bounds of JSON that is read.
 */
export function digestsIn(bytes: Uint8Array): ReadonlySet<Digest> | undefined {
  let root: unknown;
  try {
    root = parseBoundedJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof root !== 'object' || root === null) return undefined;
  const found = new Set<Digest>();
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === 'string') {
      for (const [digest] of value.matchAll(/sha256:[0-9a-f]{64}/g)) if (isDigest(digest)) found.add(digest);
    } else if (typeof value === 'object' && value !== null) {
      for (const each of Object.entries(value)) open.push(...each);
    }
  }
  return found;
}

function tryDecode(bytes: Uint8Array): ManifestContent | Error {
  try {
    const { mediaType, artifactType, config, layers, manifests, subject } = contentSchema.parse(
      parseBoundedJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')),
    );
    if (!manifests && !config) return new Error('it has neither a config nor manifests');
    return {
      mediaType: mediaType ?? (manifests ? IMAGE_INDEX : IMAGE_MANIFEST),
      artifactType,
      blobs: [...(config ? [config] : []), ...(layers ?? [])],
      manifests: manifests ?? [],
      subject,
    };
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error), { cause: error });
  }
}

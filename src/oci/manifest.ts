/** Image manifests and image indexes. opencontainers/image-spec v1.1.1 manifest.md, image-index.md */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { type Descriptor, descriptorSchema } from './descriptor.ts';

export const IMAGE_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const IMAGE_INDEX = 'application/vnd.oci.image.index.v1+json';
/** Docker's own two, which old caches and foreign tags may carry. */
export const MANIFEST_MEDIA_TYPES = [
  IMAGE_MANIFEST,
  IMAGE_INDEX,
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
] as const;
/** 4 MiB: what registries must at least accept, and distribution, zot and ACR accept at most (distribution-spec). */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

export interface ImageManifest {
  readonly schemaVersion: 2;
  readonly mediaType: typeof IMAGE_MANIFEST;
  readonly artifactType?: string | undefined;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType: typeof IMAGE_INDEX;
  readonly artifactType?: string | undefined;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

const common = {
  schemaVersion: z.literal(2),
  artifactType: z.optional(z.string()),
  annotations: z.optional(z.record(z.string(), z.string())),
};
const manifestSchema = z.object({
  ...common,
  mediaType: z.literal(IMAGE_MANIFEST),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
});
const indexSchema = z.object({ ...common, mediaType: z.literal(IMAGE_INDEX), manifests: z.array(descriptorSchema) });

export const isManifestMediaType = (mediaType: string): boolean =>
  (MANIFEST_MEDIA_TYPES as readonly string[]).includes(mediaType);

/** @throws {NixcacheError} ERR_UNSUPPORTED when registries would refuse a manifest of that size; `what` names it */
export function checkManifestSize(bytes: Uint8Array, what: string): void {
  if (bytes.length <= MAX_MANIFEST_BYTES) return;
  throw new NixcacheError(
    'ERR_UNSUPPORTED',
    `push ${what}: the manifest has ${bytes.length} bytes, and registries take at most ${MAX_MANIFEST_BYTES}; name fewer layers`,
  );
}

/** Encodes once; digest and size are of these bytes. */
export const encodeManifest = (manifest: ImageManifest | ImageIndex): Buffer => Buffer.from(JSON.stringify(manifest));

/** @throws {NixcacheError} ERR_INDEX, `what` naming the manifest */
export const decodeImageManifest = (bytes: Uint8Array, what: string): ImageManifest =>
  decode(bytes, what, manifestSchema);

/** @throws {NixcacheError} ERR_INDEX, `what` naming the index */
export const decodeImageIndex = (bytes: Uint8Array, what: string): ImageIndex => decode(bytes, what, indexSchema);

function decode<T>(bytes: Uint8Array, what: string, schema: z.ZodMiniType<T>): T {
  try {
    return schema.parse(parseBoundedJson(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `${what} is not the OCI manifest it should be: ${messageOf(cause)}`, {
      cause,
    });
  }
}

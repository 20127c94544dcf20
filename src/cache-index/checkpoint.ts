/**
 * A checkpoint: an OCI image index of the segments that stand instead of others, and of one record whose config lists
 * what they replace. Its tag, written after its segments' own, is what makes the replaced ones dead.
 */
import * as z from 'zod/mini';
import { type Descriptor, describe, descriptorSchema } from '../oci/descriptor.ts';
import { encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../oci/manifest.ts';
import * as mediaTypes from './media-types.ts';
import { type Pin, pinSchema, type Root, rootSchema } from './records.ts';
import { decodeConfig } from './segment.ts';
import { checkpointTag, recordTag } from './tags.ts';

const checkpointConfigSchema = z.object({
  formatVersion: z.number(),
  creator: z.string(),
  created: z.string(),
  /** Tags of segments and older checkpoints that are dead because this exists. */
  replaces: z.array(z.string()),
  /** Tags of the segments that this checkpoint wrote or found live. */
  segments: z.array(z.string()),
  roots: z.array(rootSchema),
  pins: z.array(pinSchema),
  publicKeys: z.array(z.string()),
  /** The look-up table, see lookup-table.ts. */
  lookup: z.optional(descriptorSchema),
  /** What the gc that wrote it was told to retain. */
  retainSeconds: z.optional(z.number().check(z.gte(0))),
  /** Hash parts of entries that are left out for good: nobody lists them again out of what this replaces. */
  removed: z.optional(z.array(z.string())),
});
export type CheckpointConfig = z.infer<typeof checkpointConfigSchema>;

/** A checkpoint lists at most so many segments, 300 bytes each, in its 4 MiB; all others have their tags anyway. */
export const MAX_LISTED = 8000;

export interface CheckpointInput {
  readonly replaces: readonly string[];
  /** As `segmentDescriptor` makes them, each with its tag in an annotation. */
  readonly segments: readonly Descriptor[];
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
  readonly publicKeys: readonly string[];
  readonly creator: string;
  readonly now: Date;
  readonly sourceUrl?: string | undefined;
  /** Made by `encodeLookup`; caches of few entries need none. */
  readonly lookup?: Buffer | undefined;
  readonly retainSeconds?: number | undefined;
  readonly removed?: readonly string[] | undefined;
}

export interface EncodedCheckpoint {
  readonly tag: string;
  readonly lookup: { readonly descriptor: Descriptor; readonly bytes: Buffer } | undefined;
  readonly config: { readonly descriptor: Descriptor; readonly bytes: Buffer };
  /** The child manifest that makes the config reachable; stored under its own tag before the index. */
  readonly record: { readonly tag: string; readonly descriptor: Descriptor; readonly bytes: Buffer };
  readonly index: Buffer;
}

export function encodeCheckpoint(input: CheckpointInput): EncodedCheckpoint {
  const lookup = input.lookup && { descriptor: describe(mediaTypes.LOOKUP, input.lookup), bytes: input.lookup };
  const config: CheckpointConfig = {
    formatVersion: mediaTypes.FORMAT_VERSION,
    creator: input.creator,
    created: input.now.toISOString(),
    replaces: [...input.replaces].sort(),
    segments: input.segments.map((segment) => tagOf(segment) ?? '').sort(),
    roots: [...input.roots],
    pins: [...input.pins],
    publicKeys: [...input.publicKeys],
    lookup: lookup?.descriptor,
    retainSeconds: input.retainSeconds,
    ...(input.removed && input.removed.length > 0 ? { removed: [...input.removed].sort() } : {}),
  };
  const configBytes = Buffer.from(JSON.stringify(config));
  const configDescriptor = describe(mediaTypes.CHECKPOINT_CONFIG, configBytes);
  const tag = checkpointTag(configDescriptor.digest, input.now);
  const annotations = {
    [mediaTypes.TAG_ANNOTATION]: tag,
    [mediaTypes.VERSION_ANNOTATION]: String(mediaTypes.FORMAT_VERSION),
    [mediaTypes.CREATED_ANNOTATION]: config.created,
    ...(input.sourceUrl ? { [mediaTypes.SOURCE_ANNOTATION]: input.sourceUrl } : {}),
  };
  const record = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    artifactType: mediaTypes.CHECKPOINT_RECORD,
    config: configDescriptor,
    layers: [configDescriptor, ...(lookup ? [lookup.descriptor] : [])], // image-spec v1.1.1 manifest.md: at least one layer, for portability
    annotations: { ...annotations, [mediaTypes.TAG_ANNOTATION]: recordTag(tag) },
  });
  const recordDescriptor = { ...describe(IMAGE_MANIFEST, record), artifactType: mediaTypes.CHECKPOINT_RECORD };
  const index = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_INDEX,
    artifactType: mediaTypes.CHECKPOINT,
    manifests: [recordDescriptor, ...input.segments],
    annotations,
  });
  return {
    tag,
    lookup,
    config: { descriptor: configDescriptor, bytes: configBytes },
    record: { tag: recordTag(tag), descriptor: recordDescriptor, bytes: record },
    index,
  };
}

/** The tag that a listed descriptor carries in its annotation. */
export const tagOf = (descriptor: Descriptor): string | undefined =>
  descriptor.annotations?.[mediaTypes.TAG_ANNOTATION];

/** @throws {NixcacheError} ERR_INDEX, or ERR_INDEX_VERSION */
export const decodeCheckpointConfig = (bytes: Uint8Array, what: string): CheckpointConfig =>
  decodeConfig(bytes, what, checkpointConfigSchema);

/** A segment: an OCI image manifest whose first layer is the entries blob and whose others are the bytes they need. */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { type Descriptor, describe } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { encodeManifest, IMAGE_MANIFEST } from '../oci/manifest.ts';
import { encodeEntries } from './entries-blob.ts';
import { type Entry, extentsOf } from './entry.ts';
import * as mediaTypes from './media-types.ts';
import { type Pin, pinSchema, type Root, rootSchema } from './records.ts';
import { segmentTag, segmentTagBehind } from './tags.ts';

/** 64 MiB, of a checkpoint, which carries the roots and pins of a cache: 100 000 of some 300 bytes are 30 MB. */
export const MAX_CONFIG_BYTES = 64 * 1024 * 1024;
/** 16 MiB, of a segment, which has those of one publish. As many are read at once as hide the latency. */
export const MAX_SEGMENT_CONFIG_BYTES = 16 * 1024 * 1024;

const segmentConfigSchema = z.object({
  formatVersion: z.number(),
  creator: z.string(),
  created: z.string(),
  storeDir: z.string(),
  entryCount: z.number(),
  firstHash: z.optional(z.string()),
  lastHash: z.optional(z.string()),
  source: z.optional(z.string()),
  revision: z.optional(z.string()),
  roots: z.array(rootSchema),
  pins: z.array(pinSchema),
  publicKeys: z.array(z.string()),
});
export type SegmentConfig = z.infer<typeof segmentConfigSchema>;

export interface SegmentInput {
  readonly entries: readonly Entry[];
  /** Every blob that the extents of the entries name, with its media type. */
  readonly blobs: readonly Descriptor[];
  readonly storeDir: string;
  readonly creator: string;
  readonly now: Date;
  /** Tag of the segment behind which it sorts, at once; undefined: by `now`. */
  readonly behind?: string | undefined;
  readonly source?: string | undefined;
  readonly revision?: string | undefined;
  readonly roots?: readonly Root[];
  readonly pins?: readonly Pin[];
  readonly publicKeys?: readonly string[];
  /** `https://github.com/owner/repo`: links the package on GHCR. */
  readonly sourceUrl?: string | undefined;
}

/** Everything that must be stored for a segment, in the order in which to store it. */
export interface EncodedSegment {
  readonly tag: string;
  readonly blobs: readonly { readonly descriptor: Descriptor; readonly bytes: Buffer }[];
  /** The first of them, which holds the entries. */
  readonly entriesBlob: Buffer;
  readonly manifest: Buffer;
  /** The manifest's descriptor as `cache-index` and checkpoints list it. */
  readonly descriptor: Descriptor;
}

/**
 * Encodes a segment.
 *
 * @throws {Error} when an entry's extent lies in a blob that is not among `blobs`: such an entry must never be written
 */
export function encodeSegment(input: SegmentInput): EncodedSegment {
  assertReachable(input);
  const entriesBytes = encodeEntries(input.entries);
  const entries = describe(mediaTypes.ENTRIES, entriesBytes);
  const hashes = input.entries.map((entry) => hashPartOf(entry.narInfo.path)).sort();
  const config: SegmentConfig = {
    formatVersion: mediaTypes.FORMAT_VERSION,
    creator: input.creator,
    created: input.now.toISOString(),
    storeDir: input.storeDir,
    entryCount: input.entries.length,
    firstHash: hashes[0],
    lastHash: hashes.at(-1),
    source: input.source,
    revision: input.revision,
    roots: [...(input.roots ?? [])],
    pins: [...(input.pins ?? [])],
    publicKeys: [...(input.publicKeys ?? [])],
  };
  const configBytes = Buffer.from(JSON.stringify(config));
  const configDescriptor = describe(mediaTypes.SEGMENT_CONFIG, configBytes);
  const { now, behind } = input;
  const tag = behind === undefined ? segmentTag(entries.digest, now) : segmentTagBehind(entries.digest, behind);
  const manifest = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    artifactType: mediaTypes.SEGMENT,
    config: configDescriptor,
    layers: [entries, ...input.blobs.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }))],
    annotations: {
      [mediaTypes.TAG_ANNOTATION]: tag,
      [mediaTypes.CREATED_ANNOTATION]: config.created,
      ...(input.sourceUrl ? { [mediaTypes.SOURCE_ANNOTATION]: input.sourceUrl } : {}),
    },
  });
  return {
    tag,
    blobs: [
      { descriptor: entries, bytes: entriesBytes },
      { descriptor: configDescriptor, bytes: configBytes },
    ],
    ...{ entriesBlob: entriesBytes, manifest },
    descriptor: segmentDescriptor(describe(IMAGE_MANIFEST, manifest), tag, entries.size),
  };
}

/** `descriptor` as `cache-index` lists it: a reader finds the entries blob from it without fetching the manifest. */
export const segmentDescriptor = (descriptor: Descriptor, tag: string, entriesSize?: number): Descriptor => ({
  mediaType: descriptor.mediaType,
  digest: descriptor.digest,
  size: descriptor.size,
  artifactType: mediaTypes.SEGMENT,
  annotations: {
    [mediaTypes.TAG_ANNOTATION]: tag,
    ...(entriesSize === undefined ? {} : { [mediaTypes.ENTRIES_SIZE_ANNOTATION]: String(entriesSize) }),
  },
});

function assertReachable({ entries, blobs }: SegmentInput): void {
  const known = new Set<Digest>(blobs.map(({ digest }) => digest));
  for (const entry of entries) {
    for (const { digest } of extentsOf(entry)) {
      if (!known.has(digest)) throw new Error(`segment would not reach ${digest}, which ${entry.narInfo.path} needs`);
    }
  }
}

/** @throws {NixcacheError} ERR_INDEX, or ERR_INDEX_VERSION when it is of a later version */
export const decodeSegmentConfig = (bytes: Uint8Array, what: string): SegmentConfig =>
  decodeConfig(bytes, what, segmentConfigSchema);

/** Two million: 200 000 roots, pins or tags of ten fields each. */
const MAX_CONFIG_VALUES = 2_000_000;

/** @throws {NixcacheError} ERR_INDEX, or ERR_INDEX_VERSION when it is of a later version */
export function decodeConfig<T>(bytes: Uint8Array, what: string, schema: z.ZodMiniType<T>): T {
  let json: unknown;
  try {
    json = parseBoundedJson(Buffer.from(bytes).toString('utf8'), { maxValues: MAX_CONFIG_VALUES });
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `${what} is not the JSON it should be: ${messageOf(cause)}`, { cause });
  }
  const version = z.object({ formatVersion: z.number() }).safeParse(json);
  if (version.success) assertVersion(version.data.formatVersion, what);
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    throw new NixcacheError('ERR_INDEX', `${what} is damaged: ${messageOf(parsed.error)}`, { cause: parsed.error });
  }
  return parsed.data;
}

/** @throws {NixcacheError} ERR_INDEX_VERSION */
export function assertVersion(version: number, what: string): void {
  if (!(version <= mediaTypes.FORMAT_VERSION)) {
    throw new NixcacheError(
      'ERR_INDEX_VERSION',
      `${what} is of cache format ${Number.isNaN(version) ? 'unknown' : version}, this nixcache knows up to ${mediaTypes.FORMAT_VERSION}: install a newer nixcache`,
    );
  }
}

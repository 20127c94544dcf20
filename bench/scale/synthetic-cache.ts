import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { encodeCheckpoint } from '../../src/cache-index/checkpoint.ts';
import { encodeLookup, type LookupSegment } from '../../src/cache-index/lookup-table.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import type { Root } from '../../src/cache-index/records.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { CACHE_INDEX_TAG, segmentTag } from '../../src/cache-index/tags.ts';
import { type BaseName, hashPartOf } from '../../src/nix/store-path.ts';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';
import { digestFromHex, digestOf, hexOf } from '../../src/oci/digest.ts';
import { encodeManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { baseNameAt, entryAt, type SharedBlobs } from './synthetic-entries.ts';

/** An image layout with a cache in it as gc leaves one, and a few segments published since. */
export interface SyntheticCache {
  readonly entries: number;
  /** Of the layout. */
  readonly path: string;
}

const VERSION = 2;
const recordSchema = z.object({ version: z.literal(VERSION), entries: z.number() });

const PARTITION_ENTRIES = 1000;
const RECENT_SEGMENTS = 10;
const RECENT_ENTRIES = 100;
const ROOTS = 1000;
const RUNS = 50;
const HOUR_MS = 3_600_000;

/** The cache of so many entries below `dir`; made if it is not there, which takes a minute for a million. */
export async function ensureSyntheticCache(
  dir: string,
  entries: number,
  onStep: (step: string) => void,
): Promise<SyntheticCache> {
  const target = join(dir, `scale-${entries}`);
  const record = join(target, 'record.json');
  const path = join(target, 'layout');
  if (existsSync(record) && recordSchema.safeParse(JSON.parse(await readFile(record, 'utf8'))).success) {
    return { entries, path };
  }
  onStep(`making a cache of ${entries} entries in ${target}`);
  await rm(target, { recursive: true, force: true });
  const layout = new LayoutWriter(path);
  await layout.create();
  await writeCache(layout, entries, new Date());
  await layout.finish();
  await writeFile(record, JSON.stringify({ version: VERSION, entries }));
  return { entries, path };
}

async function writeCache(layout: LayoutWriter, entries: number, now: Date): Promise<void> {
  const blobs = await writeSharedBlobs(layout);
  const names = Array.from({ length: entries }, (_, number) => baseNameAt(number));
  const recent = RECENT_SEGMENTS * RECENT_ENTRIES;
  const settled = names.map((_, number) => number).slice(0, entries - recent);
  settled.sort((a, b) => ((names[a] ?? '') < (names[b] ?? '') ? -1 : 1));
  const write = async (
    numbers: readonly number[],
    ageHours: number,
  ): Promise<LookupSegment & { readonly descriptor: Descriptor }> => {
    const entries = numbers.map((number) => entryAt(number, names, blobs, now.getTime() / 1000));
    const segment = encodeSegment({
      entries,
      blobs: [...blobs.packs, ...blobs.nars],
      storeDir: '/nix/store',
      creator: 'nixcache bench',
      now: new Date(now.getTime() - ageHours * HOUR_MS),
    });
    for (const { descriptor, bytes } of segment.blobs) await layout.writeBlob(descriptor, bytes);
    await layout.writeManifest(segment.tag, IMAGE_MANIFEST, mediaTypes.SEGMENT, segment.manifest);
    const { tag, descriptor } = segment;
    return {
      ...{ tag, descriptor, count: entries.length },
      entries: entries.map(({ narInfo, asserted = 0 }) => ({ hashPart: hashPartOf(narInfo.path), asserted })),
    };
  };
  const partitions: (LookupSegment & { readonly descriptor: Descriptor })[] = [];
  for (let at = 0; at < settled.length; at += PARTITION_ENTRIES) {
    partitions.push(await write(settled.slice(at, at + PARTITION_ENTRIES), 72));
  }
  const checkpoint = encodeCheckpoint({
    replaces: Array.from({ length: 20 }, (_, n) => segmentTag(digestOf(Buffer.from(`gone ${n}`)), now)),
    segments: partitions.map(({ descriptor }) => descriptor),
    lookup: encodeLookup('/nix/store', partitions),
    roots: rootsOf(names.slice(0, entries - recent), now),
    pins: [],
    publicKeys: [],
    creator: 'nixcache bench',
    now: new Date(now.getTime() - 71 * HOUR_MS),
  });
  for (const blob of [checkpoint.lookup, checkpoint.config]) {
    if (blob) await layout.writeBlob(blob.descriptor, blob.bytes);
  }
  await layout.writeManifest(
    checkpoint.record.tag,
    IMAGE_MANIFEST,
    mediaTypes.CHECKPOINT_RECORD,
    checkpoint.record.bytes,
  );
  await layout.writeManifest(checkpoint.tag, IMAGE_INDEX, mediaTypes.CHECKPOINT, checkpoint.index);
  const published: Descriptor[] = [];
  for (let n = 0; n < RECENT_SEGMENTS; n++) {
    const first = entries - recent + n * RECENT_ENTRIES;
    const numbers = Array.from({ length: RECENT_ENTRIES }, (_, i) => first + i);
    published.push((await write(numbers, 70 - n)).descriptor);
  }
  const index = encodeManifest({
    schemaVersion: 2,
    mediaType: IMAGE_INDEX,
    artifactType: mediaTypes.CACHE_INDEX,
    manifests: [...partitions.map(({ descriptor }) => descriptor), ...published],
    annotations: {
      [mediaTypes.TAG_ANNOTATION]: CACHE_INDEX_TAG,
      [mediaTypes.VERSION_ANNOTATION]: String(mediaTypes.FORMAT_VERSION),
      [mediaTypes.CREATED_ANNOTATION]: now.toISOString(),
    },
  });
  await layout.writeManifest(CACHE_INDEX_TAG, IMAGE_INDEX, mediaTypes.CACHE_INDEX, index);
}

function rootsOf(names: readonly BaseName[], now: Date): Root[] {
  return Array.from({ length: ROOTS }, (_, n) => {
    const run = n % RUNS;
    const path = names[names.length - 1 - n * 7] ?? names[0];
    if (path === undefined) throw new Error('a cache without entries has no roots');
    return {
      name: `packages.x86_64-linux.package-${Math.floor(n / RUNS)}`,
      path,
      system: 'x86_64-linux',
      source: 'github:example/packages',
      revision: digestOf(Buffer.from(`run ${run}`)).slice(7, 47),
      time: Math.floor(now.getTime() / 1000) - (run + 4) * 86_400,
      run: `run-${run}`,
    };
  });
}

/** Blobs of nothing but zeros, and holes on the disk, but for a number at their start. */
async function writeSharedBlobs(layout: LayoutWriter): Promise<SharedBlobs> {
  const packs: Descriptor[] = [];
  for (let n = 0; n < 8; n++) packs.push(await layout.writeSparse(mediaTypes.PACK, n, 8 * 1024 * 1024));
  const nars: Descriptor[] = [];
  for (let n = 0; n < 56; n++) nars.push(await layout.writeSparse(mediaTypes.NAR, n + 100, 100_000 + n * 1000));
  return { packs, nars };
}

/** Writes an image layout that nobody reads yet: no locks, no syncs. */
class LayoutWriter {
  readonly #path: string;
  readonly #manifests: Descriptor[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  async create(): Promise<void> {
    await mkdir(join(this.#path, 'blobs', 'sha256'), { recursive: true });
    await mkdir(join(this.#path, '.ingest'));
  }

  async writeBlob({ digest }: Descriptor, bytes: Uint8Array): Promise<void> {
    await writeFile(this.#file(digest), bytes);
  }

  async writeSparse(mediaType: string, number: number, size: number): Promise<Descriptor> {
    const head = Buffer.from(`blob ${number} of the bench\n`);
    const hash = createHash('sha256').update(head);
    hash.update(Buffer.alloc(size - head.length));
    const digest = digestFromHex(hash.digest('hex'));
    const file = await open(this.#file(digest), 'w');
    try {
      await file.write(head);
      await file.truncate(size);
    } finally {
      await file.close();
    }
    return { mediaType, digest, size };
  }

  async writeManifest(tag: string, mediaType: string, artifactType: string, bytes: Uint8Array): Promise<void> {
    const descriptor = describe(mediaType, bytes);
    await this.writeBlob(descriptor, bytes);
    const annotations = { 'org.opencontainers.image.ref.name': tag };
    this.#manifests.push({ ...descriptor, artifactType, annotations });
  }

  async finish(): Promise<void> {
    const index = { schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: this.#manifests };
    await writeFile(join(this.#path, 'index.json.new'), JSON.stringify(index));
    await rename(join(this.#path, 'index.json.new'), join(this.#path, 'index.json'));
    await writeFile(join(this.#path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  }

  #file(digest: Descriptor['digest']): string {
    return join(this.#path, 'blobs', 'sha256', hexOf(digest));
  }
}

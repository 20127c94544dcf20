/** Writes segments as publish does, from small NARs made in memory, and knows what readers must find in them. */
import { createHash } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { expect } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { Mirror } from '../../src/cache/read/mirror.ts';
import { stopAtProblems } from '../../src/cache/read/problem.ts';
import { type CacheView, loadView } from '../../src/cache/read/view.ts';
import { refreshCacheIndex } from '../../src/cache/write/cache-index.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { type Entry, narUrl, wholeBlob } from '../../src/cache-index/entry.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import type { Pin, Root } from '../../src/cache-index/records.ts';
import { type EncodedSegment, encodeSegment } from '../../src/cache-index/segment.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import {
  type BaseName,
  DEFAULT_STORE_DIR,
  type HashPart,
  hashPartOf,
  nameOf,
  parseBaseName,
  toStorePath,
} from '../../src/nix/store-path.ts';
import { bytesContent } from '../../src/oci/bytes-content.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { PieceDigester } from '../../src/streams/pieces.ts';
import { noise, readAll } from './bytes.ts';
import { narOf } from './nar.ts';

/** The base name of a path called `name`: the same each time. */
export const baseNameFor = (name: string): BaseName =>
  parseBaseName(`${encode(createHash('sha256').update(name).digest().subarray(0, 20))}-${name}`);
export const hashPartFor = (name: string): HashPart => hashPartOf(baseNameFor(name));

export interface PathSpec {
  readonly name: string;
  readonly references?: readonly string[];
  /** Bytes of its one file; default 100. */
  readonly bytes?: number;
  /** Other contents for the same path, as another machine may build it. */
  readonly build?: number;
  /** Whether its entry has the digests of its pieces, as those of large NARs do; default false. */
  readonly pieces?: boolean;
}

export interface PublishSpec {
  readonly at: Date;
  readonly paths?: readonly (PathSpec | string)[];
  /** Names in the cache that are listed again without upload. */
  readonly asserted?: readonly string[];
  /** Who has read the cache before; default: a new one. */
  readonly reader?: IndexReader;
  /** Names of paths that become roots, each called after its path unless it has another name. */
  readonly roots?: readonly (string | { readonly name: string; readonly path: string; readonly system?: string })[];
  readonly source?: string;
  readonly system?: string;
  readonly pins?: readonly Pin[];
  /** Whether NARs travel in a pack, as small ones do; default true. */
  readonly packed?: boolean;
  readonly publicKeys?: readonly string[];
  /** Whether cache-index is refreshed afterwards; default true. */
  readonly index?: boolean;
}

export class CacheBuilder {
  readonly store: ContentStore;
  /** The NARs that readers may get for a path. */
  readonly nars = new Map<string, Buffer[]>();

  constructor(store: ContentStore) {
    this.store = store;
  }

  /** Commits one segment. */
  async publish(spec: PublishSpec): Promise<EncodedSegment> {
    const made = (spec.paths ?? []).map((path) => this.#make(typeof path === 'string' ? { name: path } : path));
    const entries: Entry[] = [];
    const blobs = new Map<Digest, Descriptor>();
    for (const { entry, own } of await this.#store(made, spec.packed ?? true)) {
      entries.push(entry);
      for (const blob of own) blobs.set(blob.digest, blob);
    }
    for (const { entry, blobs: held } of await this.#find(spec)) {
      entries.push({ ...entry, asserted: undefined });
      for (const blob of held) blobs.set(blob.digest, blob);
    }
    const segment = encodeSegment({
      entries,
      blobs: [...blobs.values()],
      storeDir: DEFAULT_STORE_DIR,
      creator: 'test',
      now: spec.at,
      roots: (spec.roots ?? []).map((root) => rootFor(root, spec)),
      pins: spec.pins ?? [],
      publicKeys: spec.publicKeys ?? [],
    });
    const view = spec.index === false ? undefined : await readView(this.store);
    await commitSegment(this.store, segment, {});
    if (view) {
      const { publicKeys = [] } = spec;
      await refreshCacheIndex(this.store, { view, added: [segment.descriptor], publicKeys, now: spec.at });
    }
    return segment;
  }

  /** Fails unless a new reader finds every path in `names`, each with bytes that were published. */
  async expectReadable(names: Iterable<string>): Promise<void> {
    const reader = await openReader(this.store);
    for (const name of names) {
      const entry = reader.findEntry(hashPartFor(name));
      if (!entry) throw new Error(`${name} is not in the cache`);
      const nar = zstdDecompressSync(await readAll(await reader.openNar(entry)));
      expect(this.nars.get(name)?.some((known) => known.equals(nar))).toBe(true);
      expect(JSON.parse(String(await reader.fetchListing(entry)))).toEqual(listingOf(nar));
    }
  }

  async #find({ asserted = [], reader }: PublishSpec): Promise<{ entry: Entry; blobs: Descriptor[] }[]> {
    if (asserted.length === 0) return [];
    const source = reader ?? (await openReader(this.store));
    return Promise.all(
      asserted.map(async (name) => {
        const found = source.findAsserted(hashPartFor(name));
        const manifest = found && (await this.store.fetchManifest(found.tag));
        if (!found || !manifest) throw new Error(`${name} is not in the cache`);
        const needed = new Set([...found.entry.nar, ...(found.entry.listing?.extents ?? [])].map((at) => at.digest));
        const { layers } = decodeImageManifest(manifest.bytes, found.tag);
        return { entry: found.entry, blobs: layers.filter(({ digest }) => needed.has(digest)) };
      }),
    );
  }

  #make(spec: PathSpec): MadePath {
    const nar = narOf({ contents: noise(spec.bytes ?? 100, `${spec.name} ${spec.build ?? 0}`) });
    this.nars.set(spec.name, [...(this.nars.get(spec.name) ?? []), nar]);
    const packed = zstdCompressSync(nar);
    const fileHash = sha256(packed);
    return {
      ...{ packed, listing: zstdCompressSync(JSON.stringify(listingOf(nar))) },
      ...(spec.pieces && { pieces: piecesOf(packed) }),
      narInfo: {
        path: toStorePath(baseNameFor(spec.name)),
        url: narUrl(fileHash, 'zstd'),
        compression: 'zstd',
        fileHash,
        fileSize: packed.length,
        narHash: sha256(nar),
        narSize: nar.length,
        references: (spec.references ?? []).map(baseNameFor).sort(),
        sigs: [],
      },
    };
  }

  async #store(made: readonly MadePath[], packed: boolean): Promise<StoredPath[]> {
    const pieces = made.flatMap((path) => (packed ? [path.packed, path.listing] : [path.listing]));
    const pack = describe(mediaTypes.PACK, Buffer.concat(pieces));
    if (made.length > 0) await this.store.pushBlob(pack, bytesContent(Buffer.concat(pieces)));
    let offset = 0;
    const place = (bytes: Buffer): Entry['nar'] => {
      const extent = { digest: pack.digest, offset, length: bytes.length };
      offset += bytes.length;
      return [extent];
    };
    const stored: StoredPath[] = [];
    for (const path of made) {
      const own = describe(mediaTypes.NAR, path.packed);
      if (!packed) await this.store.pushBlob(own, bytesContent(path.packed));
      const nar = packed ? place(path.packed) : [wholeBlob(own.digest, own.size)];
      const listing = { digest: describe('', path.listing).digest, extents: place(path.listing) };
      stored.push({
        own: packed ? [pack] : [own, pack],
        entry: { narInfo: path.narInfo, nar, listing, ...(path.pieces && { pieces: path.pieces }) },
      });
    }
    return stored;
  }
}

interface MadePath {
  readonly packed: Buffer;
  readonly listing: Buffer;
  readonly narInfo: Entry['narInfo'];
  readonly pieces?: Entry['pieces'];
}

interface StoredPath {
  readonly entry: Entry;
  readonly own: readonly Descriptor[];
}

const sha256 = (bytes: Uint8Array): Entry['narInfo']['fileHash'] =>
  hashFromBytes(createHash('sha256').update(bytes).digest());

const piecesOf = (packed: Buffer): NonNullable<Entry['pieces']> => {
  const digester = new PieceDigester();
  digester.update(packed);
  const { pieceBytes, digests } = digester.finish();
  return { pieceBytes, digests };
};

/** Of the NAR of one plain file: its size stands at byte 88, and its contents follow. */
const listingOf = (nar: Buffer): unknown => ({
  version: 1,
  root: { type: 'regular', size: Number(nar.readBigUInt64LE(88)), narOffset: 96 },
});

function rootFor(
  root: NonNullable<PublishSpec['roots']>[number],
  { at, source = 'github:owner/repo', system: ofAll = 'x86_64-linux' }: PublishSpec,
): Root {
  const { name, path, system = ofAll } = typeof root === 'string' ? { name: root, path: root } : root;
  const time = Math.floor(at.getTime() / 1000);
  return { name, path: baseNameFor(path), system, source, time, run: `run ${at.toISOString()}` };
}

/** A strict reader that has read the cache. */
export async function openReader(store: ContentStore): Promise<IndexReader> {
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  return reader;
}

export const readView = async (store: ContentStore): Promise<CacheView> =>
  loadView(store, await Mirror.open({ cache: store.name, use: 'check' }), { onProblem: stopAtProblems });

/** Names of the paths that a new reader finds. */
export async function namesIn(store: ContentStore): Promise<string[]> {
  return [...(await openReader(store)).entries()].map(({ entry }) => nameOf(entry.narInfo.path)).sort();
}

/** Fails unless every live segment's manifest is tagged, and it and all blobs that its entries need are there. */
export async function assertSegmentsReachable(store: ContentStore): Promise<void> {
  const reader = await openReader(store);
  const held = new Map(reader.segments().map((segment) => [segment.tag, segment]));
  const live = reader.view?.live.segments ?? [];
  expect([...held.keys()].sort()).toEqual([...live].sort());
  for (const [tag, segment] of held) {
    const manifest = await store.fetchManifest(tag);
    if (!manifest) throw new Error(`segment ${tag} has no manifest`);
    const { layers } = decodeImageManifest(manifest.bytes, tag);
    for (const layer of layers) expect(await store.hasBlob(layer), `${layer.digest} of ${tag}`).toBe(true);
    const digests = new Set(layers.map(({ digest }) => digest));
    for (let row = 0; row < segment.rows.count; row++) {
      const { nar, listing } = segment.entryAt(row);
      for (const { digest } of [...nar, ...(listing?.extents ?? [])]) expect(digests.has(digest)).toBe(true);
    }
  }
}

import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { infosInOrder } from '../../src/cache/write/references-first.ts';
import { decodeEntries, encodeEntries, MAX_ENTRIES_BLOB_BYTES } from '../../src/cache-index/entries-blob.ts';
import type { Entry } from '../../src/cache-index/entry.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { pushPaths } from '../../src/publish/push-paths.ts';
import { noise } from '../support/bytes.ts';
import { baseNameFor, CacheBuilder, hashPartFor, namesIn, openReader } from '../support/cache-builder.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';
import { segmentAt, tagsOf } from '../support/vandal.ts';
import { kindsOf, REPAIR, verify } from '../support/verify-runs.ts';

const LARGE = { name: 'large', bytes: 2_500_000, pieces: true };

const piecesIn = async (store: ContentStore, name = 'large'): Promise<Entry['pieces']> =>
  (await openReader(store)).findEntry(hashPartFor(name))?.pieces;

it('digests of pieces are published with large NARs alone, and are right', async () => {
  const store = new MemoryStore();
  const paths = new LocalPaths(await tempDir());
  const large = await paths.add('large', { f: noise(2_500_000, 'large') });
  const small = await paths.add('small', { f: noise(900_000, 'small') });
  await pushPaths({
    ...{ store, keys: [], storeDir: '/nix/store', creator: 'test', asserted: [], roots: [], workers: 1 },
    push: infosInOrder([large, small]),
    compression: { method: 'zstd' },
    contentPath: ({ path }) => paths.contentPath(path),
    onEvent: () => undefined,
    now: () => day(0),
  });
  expect((await piecesIn(store))?.digests).toHaveLength(3 * 16);
  expect(await piecesIn(store, 'small')).toBeUndefined();
  expect(kindsOf((await verify(store, { contents: true })).findings)).not.toContain('pieces-wrong');
});

it('digests of pieces never make a segment larger than readers take: the largest NARs go without', async () => {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at: day(0), paths: ['large'], packed: false });
  const [held] = [...(await openReader(store)).entries()];
  if (held === undefined) throw new Error('no entry');
  const of = (pieces: number): Entry => ({
    ...held.entry,
    pieces: { pieceBytes: 1024 * 1024, digests: randomBytes(16 * pieces) },
  });
  const blob = encodeEntries([of(200_000), of(3), ...Array.from({ length: 20 }, () => of(100_000))]);
  expect(blob.length).toBeLessThan(MAX_ENTRIES_BLOB_BYTES / 3);
  const lines = String(decodeEntries(blob, 'entries')).match(/^NixcachePieces: .*$/gm) ?? [];
  expect(lines.map((line) => line.length).sort((a, b) => a - b)).toEqual([
    'NixcachePieces: 1048576 '.length + 64,
    ...Array.from({ length: 2 }, () => 'NixcachePieces: 1048576 '.length + 4 * Math.ceil(1_600_000 / 3)),
  ]);
});

it('gc and copy carry the digests of pieces on', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: [LARGE, { name: 'old', bytes: 1000 }], packed: false });
  await cache.publish({ at: day(40), asserted: ['large'] });
  const pieces = await piecesIn(store);
  expect(pieces?.digests).toHaveLength(3 * 16);
  const { report } = await gcAt(store, day(60));
  expect(report.segments).toMatchObject({ written: expect.any(Number) });
  expect(await namesIn(store)).toEqual(['large']);
  expect(await piecesIn(store)).toEqual(pieces);
  const copy = new MemoryStore();
  await copyBetween(store, copy);
  expect(await piecesIn(copy)).toEqual(pieces);
});

it('verify --contents names digests that are not of the NAR, and --repair drops them and nothing else', async () => {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: [LARGE, { ...LARGE, name: 'other' }], packed: false });
  const right = await piecesIn(store, 'other');
  const entries = [...(await openReader(store)).entries()].map(({ entry }) => entry);
  const liar = entries.find(({ narInfo }) => narInfo.path.endsWith(baseNameFor('large')));
  if (!liar?.pieces) throw new Error('no pieces');
  const lie = { ...liar, pieces: { ...liar.pieces, digests: new Uint8Array(liar.pieces.digests.length) } };
  const [tag = ''] = await tagsOf(store, 'segment');
  const blobs = (await segmentAt(store, tag)).manifest.layers.slice(1);
  const listed = entries.map((entry) => (entry === liar ? lie : entry));
  const segment = encodeSegment({ entries: listed, blobs, storeDir: '/nix/store', creator: 'test', now: day(1) });
  await commitSegment(store, segment, {});

  expect(kindsOf((await verify(store)).findings)).not.toContain('pieces-wrong');
  const report = await verify(store, { contents: true, repair: REPAIR });
  expect(report.findings).toContainEqual(
    expect.objectContaining({ kind: 'pieces-wrong', severity: 'damage', what: liar.narInfo.path }),
  );
  expect(report.repair).toMatchObject({ dropped: [], restored: [], pushed: [] });
  await cache.expectReadable(['large', 'other']);
  expect(await piecesIn(store)).toBeUndefined();
  expect(await piecesIn(store, 'other')).toEqual(right);
  expect(kindsOf((await verify(store, { contents: true })).findings)).toEqual([]);
});

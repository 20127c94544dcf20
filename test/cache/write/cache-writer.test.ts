import { expect, it } from 'vitest';
import { CacheWriter } from '../../../src/cache/write/cache-writer.ts';
import type { TakenPath } from '../../../src/cache/write/incoming.ts';
import { fileHashOf } from '../../../src/cache-index/entry.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { packNarListing } from '../../../src/nar/nar-listing.ts';
import { type BaseName, toStorePath } from '../../../src/nix/store-path.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { readAll } from '../../support/bytes.ts';
import { assertSegmentsReachable, baseNameFor, hashPartFor, openReader } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { narOf } from '../../support/nar.ts';

function taken(name: string, listing: Uint8Array | undefined): TakenPath {
  const bytes = narOf({ contents: name });
  const fileHash = fileHashOf(digestOf(bytes));
  return {
    narInfo: {
      ...{ path: toStorePath(baseNameFor(name)), compression: 'none', narHash: fileHash, narSize: bytes.length },
      ...{ references: [], sigs: [] },
    },
    nar: { bytes, fileHash, fileSize: bytes.length, listing },
  };
}

it('a path whose listing is too long to be served is written without one', async () => {
  const store = new MemoryStore();
  const listing = packNarListing({ type: 'regular', size: 4, executable: false });
  await using writer = new CacheWriter({ store, storeDir: '/nix/store', creator: 'test', now: () => day(0) });
  const paths = [taken('listed', listing), taken('too-long', undefined)];
  await writer.addAll(
    paths.map((path) => ({ info: path.narInfo, take: async () => path })),
    { concurrency: 1 },
  );
  await writer.finish();
  const reader = await openReader(store);
  for (const [name, isListed] of [['listed', true] as const, ['too-long', false] as const]) {
    const entry = reader.findEntry(hashPartFor(name));
    if (!entry) throw new Error(`${name} is not there`);
    expect(await readAll(await reader.openNar(entry))).toEqual(narOf({ contents: name }));
    expect((await reader.fetchListing(entry)) !== undefined).toBe(isListed);
  }
  await assertSegmentsReachable(store);
});

it('stores nothing of a path that was taken and left out', async () => {
  const store = new MemoryStore();
  await using writer = new CacheWriter({
    ...{ store, storeDir: '/nix/store', creator: 'test', now: () => day(0), onLeftOut: () => undefined },
  });
  const [lib, app] = [taken('lib', undefined), taken('app', undefined)];
  const { narInfo } = app;
  await writer.take({ info: narInfo, take: async () => app });
  await writer.addAll(
    [
      {
        info: lib.narInfo,
        take: async () => {
          throw new NixcacheError('ERR_NAR_MISMATCH', 'its bytes have changed');
        },
      },
    ],
    { concurrency: 1 },
  );
  await writer.finish();
  expect(store.blobs.size).toBe(0);
});

it('takes nothing of a path whose reference was left out before its turn', async () => {
  const store = new MemoryStore();
  await using writer = new CacheWriter({
    ...{ store, storeDir: '/nix/store', creator: 'test', now: () => day(0), onLeftOut: () => undefined },
  });
  const [lib, other, app] = [taken('lib', undefined), taken('other', undefined), taken('app', undefined)];
  const asked: string[] = [];
  const info = { ...app.narInfo, references: [baseNameFor('lib')] };
  await writer.addAll(
    [
      {
        info: lib.narInfo,
        take: () => Promise.reject(new NixcacheError('ERR_NAR_MISMATCH', 'its bytes have changed')),
      },
      {
        info: other.narInfo,
        take: async () => {
          await new Promise((resolve) => setImmediate(resolve));
          asked.push('other');
          return other;
        },
      },
      {
        info,
        take: async () => {
          asked.push('app');
          return { ...app, narInfo: info };
        },
      },
    ],
    { concurrency: 1 },
  );
  expect(asked).toEqual(['other']);
});

/** How many segments are there after each of two paths, the second of which comes at `at`. */
async function segmentsAfterEach(at: Date, references: readonly BaseName[] = []): Promise<number[]> {
  let now = day(0);
  await using writer = new CacheWriter({
    ...{ store: new MemoryStore(), storeDir: '/nix/store', creator: 'test', now: () => now },
  });
  const counts: number[] = [];
  for (const name of ['first', 'second']) {
    const path = taken(name, undefined);
    const info = { ...path.narInfo, references };
    await writer.add(await writer.take({ info, take: async () => ({ ...path, narInfo: info }) }));
    counts.push(writer.segments.length);
    now = at;
  }
  return counts;
}

it('commits what it has once the last commit is more than three minutes ago', async () => {
  const minutes = (count: number): Date => new Date(day(0).getTime() + count * 60_000);
  expect(await segmentsAfterEach(minutes(3))).toEqual([0, 0]);
  expect(await segmentsAfterEach(minutes(3.01))).toEqual([0, 1]);
});

it('commits what it has once there are 500 000 references in it', async () => {
  const references = Array<BaseName>(250_000).fill(baseNameFor('lib'));
  expect(await segmentsAfterEach(day(0), references.slice(1))).toEqual([0, 0]);
  expect(await segmentsAfterEach(day(0), references)).toEqual([0, 1]);
});

import { expect, it } from 'vitest';
import { CacheWriter } from '../../../src/cache/write/cache-writer.ts';
import type { TakenPath } from '../../../src/cache/write/incoming.ts';
import { fileHashOf } from '../../../src/cache-index/entry.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { packNarListing } from '../../../src/nar/nar-listing.ts';
import { toStorePath } from '../../../src/nix/store-path.ts';
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

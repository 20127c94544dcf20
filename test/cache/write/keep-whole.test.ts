import { expect, it } from 'vitest';
import { CacheWriter } from '../../../src/cache/write/cache-writer.ts';
import { announceCheckpoint, commitCheckpoint } from '../../../src/cache/write/commit.ts';
import { keepWhole, restoreVanished } from '../../../src/cache/write/keep-whole.ts';
import { encodeCheckpoint } from '../../../src/cache-index/checkpoint.ts';
import { CacheBuilder, hashPartFor, namesIn, openReader } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

/** A cache of `lib` and `other`, a gc that is going to drop both, and a writer that relies on `lib`. */
async function setUp() {
  const store = new MemoryStore();
  const old = await new CacheBuilder(store).publish({ at: day(0), paths: ['lib', 'other'] });
  const checkpoint = encodeCheckpoint({
    ...{ replaces: [old.tag], segments: [], roots: [], pins: [], publicKeys: [], creator: 'gc', now: day(50) },
  });
  const open = async () => {
    const reader = await openReader(store);
    const writer = new CacheWriter({ store, storeDir: reader.storeDir, creator: 'test', now: () => day(50) });
    const pushAgain = (): Promise<void> => Promise.reject(new Error('it was there'));
    return { store, reader, writer, relied: () => [hashPartFor('lib')], pushAgain };
  };
  return {
    store,
    open,
    announce: () => announceCheckpoint(store, checkpoint, {}),
    drop: () => commitCheckpoint(store, checkpoint, {}),
  };
}

it('lists again what a gc announces to drop, before it is dropped', async () => {
  const { store, open, announce, drop } = await setUp();
  const options = await open();
  await announce();
  await keepWhole(options);
  expect(await namesIn(store)).toEqual(['lib', 'other']);
  await drop();
  expect(await namesIn(store)).toEqual(['lib']);
});

it('the look before a commit heeds what was announced when the cache was read', async () => {
  const { store, open, announce, drop } = await setUp();
  await announce();
  const options = await open();
  expect(await restoreVanished(options, true)).toBe(true);
  await options.writer.finish();
  await drop();
  expect(await namesIn(store)).toEqual(['lib']);
});

it('lists again what was dropped meanwhile', async () => {
  const { store, open, announce, drop } = await setUp();
  const options = await open();
  await announce();
  await drop();
  await keepWhole(options);
  expect(await namesIn(store)).toEqual(['lib']);
});

it('writes nothing while no gc is at work', async () => {
  const { store, open } = await setUp();
  const options = await open();
  const before = [...store.tags];
  await keepWhole(options);
  expect([...store.tags]).toEqual(before);
});

it('has what is nowhere any more pushed again', async () => {
  const { store, open, announce, drop } = await setUp();
  const options = await open();
  await announce();
  await drop();
  for (const tag of [...store.tags.keys()]) if (tag.startsWith('seg-')) store.tags.delete(tag);
  const pushed: string[][] = [];
  const pushAgain = async (lost: readonly string[]): Promise<void> => {
    pushed.push([...lost]);
    await new CacheBuilder(store).publish({ at: day(51), paths: ['lib'] });
    await options.reader.refresh();
  };
  expect(await restoreVanished({ ...options, pushAgain })).toBe(true);
  expect(pushed).toEqual([[hashPartFor('lib')]]);
});

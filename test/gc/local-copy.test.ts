/** gc reads the index copy of its machine: nothing that is wrong there may get into the cache, or stop it for ever. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { openDirectoryIndex } from '../../src/cache/disk/directory-index.ts';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { CacheBuilder, hashPartFor, namesIn } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { tempDir } from '../support/temp-dir.ts';

let store: MemoryStore;
let cache: CacheBuilder;
let directory: string;

const openWriter = async (): Promise<IndexReader> =>
  IndexReader.open({ store, strict: true, index: await openDirectoryIndex(directory) });

const textIn = async (): Promise<string | undefined> => {
  const reader = await openWriter();
  await reader.refresh();
  const text = reader.findNarInfoText(hashPartFor('app'));
  reader.close();
  return text;
};

/** A checkpoint, the segment that it wrote, and a younger one; all of it is in the copy. */
beforeEach(async () => {
  store = new MemoryStore();
  cache = new CacheBuilder(store);
  directory = await tempDir();
  await cache.publish({ at: day(0), paths: ['old', 'lib'] });
  await cache.publish({ at: day(50), paths: [{ name: 'app', references: ['lib'] }], roots: ['app'] });
  await gcAt(store, day(60), { reader: await openWriter() });
  await textIn();
});

it('is read as it is in the cache, whichever byte of the copy is another', async () => {
  const expected = await textIn();
  expect(expected).toContain('-app');
  for (const file of await readdir(directory)) {
    const path = join(directory, file);
    const bytes = await readFile(path);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await writeFile(path, damaged);
      expect(await textIn(), `${file}, byte ${at}`).toBe(expected);
    }
    await writeFile(path, bytes);
  }
});

const damages: readonly (readonly [string, (bytes: Buffer) => Buffer])[] = [
  ['zeros', (bytes) => Buffer.alloc(bytes.length)],
  ['the first half of it', (bytes) => bytes.subarray(0, bytes.length / 2)],
  ['nothing', () => Buffer.alloc(0)],
  ['twice the same', (bytes) => Buffer.concat([bytes, bytes])],
];

it.each(damages)('does not get into the cache where each file holds %s', async (_, damage) => {
  for (const file of await readdir(directory)) {
    await writeFile(join(directory, file), damage(await readFile(join(directory, file))));
  }
  await cache.publish({ at: day(61), paths: ['new'], roots: ['new'] });
  await gcAt(store, day(100), { reader: await openWriter() });
  await gcAt(store, day(102), { reader: await openWriter() });
  expect(await namesIn(store)).toEqual(['new']);
  await cache.expectReadable(['new']);
});

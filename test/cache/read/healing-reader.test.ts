/** Damage to what is kept of the index: never an answer, and mended from the registry. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { openDirectoryIndex } from '../../../src/cache/disk/directory-index.ts';
import type { CacheReader } from '../../../src/cache/read/cache-reader.ts';
import { healing } from '../../../src/cache/read/healing-reader.ts';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { NixcacheError } from '../../../src/errors.ts';
import { CacheBuilder, hashPartFor, openReader } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';

const NAMES = ['lib', 'app', 'tool'];
let store: MemoryStore;
let directory: string;
let warnings: string[];
let isAway: boolean;
let right: Map<string, unknown>;

beforeEach(async () => {
  [warnings, isAway] = [[], false];
  store = new MemoryStore({
    onCall: () => {
      if (isAway) throw new NixcacheError('ERR_NETWORK', 'no answer');
    },
  });
  directory = await tempDir();
  const cache = new CacheBuilder(store);
  await cache.publish({ at: day(0), paths: NAMES });
  (await openServed({ refreshed: true })).close();
  const reader = await openReader(store);
  right = new Map(NAMES.map((name) => [name, reader.findEntry(hashPartFor(name))]));
});

/** As serve has it: what is kept counts before the registry is asked. */
async function openServed({ refreshed = false } = {}): Promise<CacheReader> {
  const onWarning = (message: string): void => void warnings.push(message);
  const index = await openDirectoryIndex(directory, onWarning);
  const reader = healing(await IndexReader.open({ store, index, strict: false, use: 'lazily', onWarning }));
  if (refreshed) await reader.refresh();
  return reader;
}

/** Changes the file so that nothing about its size tells. */
async function change(suffix: string, at: (bytes: Buffer) => number): Promise<void> {
  const name = (await readdir(directory)).find((each) => each.endsWith(suffix)) ?? '';
  const bytes = await readFile(join(directory, name));
  const place = at(bytes);
  bytes[place] = (bytes[place] ?? 0) ^ 1;
  await writeFile(join(directory, name), bytes);
}

const inEntryOf =
  (name: string, field: string) =>
  (text: Buffer): number =>
    text.indexOf(`\n${field}: `, text.indexOf(`-${name}\n`)) + field.length + 5;

const expectRight = async (reader: CacheReader): Promise<void> => {
  for (const name of NAMES) expect(await reader.findEntry(hashPartFor(name)), name).toEqual(right.get(name));
};

it.each(['References', 'NarHash', 'URL', 'FileHash'])(
  'an entry whose %s lost a bit on disk is fetched again before it is given, and that is said once',
  async (field) => {
    await change('.narinfos', inEntryOf('app', field));
    const reader = await openServed();
    await expectRight(reader);
    expect(warnings).toEqual([
      expect.stringMatching(/^the copy of the index .*\.narinfos in .* is damaged: it is fetched again$/),
    ]);
    await expectRight(await openServed()); // it is whole again
    expect(warnings).toHaveLength(1);
  },
);

it('also where it was changed while it was open', async () => {
  const reader = await openServed({ refreshed: true });
  await change('.narinfos', inEntryOf('app', 'NarHash'));
  await expectRight(reader);
  const entry = await reader.findEntry(hashPartFor('app'));
  if (!entry) throw new Error('app is not there');
  await change('.narinfos', inEntryOf('app', 'NarHash'));
  expect((await reader.findNarFile(entry.narInfo.fileHash))?.entry).toEqual(entry);
});

it('columns that lost a bit are made anew by the first refresh', async () => {
  for (const at of [85, 97, 110, 120, 185]) {
    await change('.rows', () => at);
    await expectRight(await openServed({ refreshed: true }));
  }
});

it('gives nothing while the registry cannot be asked, rather than what is wrong', async () => {
  await change('.narinfos', inEntryOf('app', 'References'));
  const reader = await openServed();
  isAway = true;
  await expect(async () => reader.findEntry(hashPartFor('app'))).rejects.toThrow('no answer');
  expect(await reader.findEntry(hashPartFor('lib'))).toEqual(right.get('lib'));
});

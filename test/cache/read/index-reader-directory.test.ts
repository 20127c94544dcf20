import { readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateKey } from '../../../src/nix/signature.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { namesIn, openWatched, watched } from './watched-store.ts';

const key = generateKey('k').public;

async function filesIn(directory: string): Promise<Record<string, string>> {
  const files = (await readdir(directory)).sort();
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, (await readFile(join(directory, file))).toString('hex')])),
  );
}

async function flipBit(directory: string, suffix: string, at: number): Promise<void> {
  const [file = ''] = (await readdir(directory)).filter((name) => name.endsWith(suffix));
  const bytes = await readFile(join(directory, file));
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(join(directory, file), bytes);
}

describe('a directory', () => {
  it('of another cache is left alone, with a warning, whatever is asked of it', async () => {
    const directory = await tempDir();
    const [one, other] = [new MemoryStore({ name: 'registry/one' }), new MemoryStore({ name: 'registry/other' })];
    await new CacheBuilder(one).publish({ at: day(0), paths: ['a'] });
    await new CacheBuilder(other).publish({ at: day(0), paths: ['b'] });
    await (await openWatched(one, { directory })).reader.refresh();
    const before = await filesIn(directory);
    const { reader, warnings } = await openWatched(other, { directory });
    expect(namesIn(reader)).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/is of registry\/one: .*index of registry\/other/)]);
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['b']);
    expect(await filesIn(directory)).toEqual(before);
    expect(namesIn((await openWatched(one, { directory })).reader)).toEqual(['a']);
  });

  it('that another cache took meanwhile is left to that', async () => {
    const directory = await tempDir();
    const [one, other] = [new MemoryStore({ name: 'registry/one' }), new MemoryStore({ name: 'registry/other' })];
    await new CacheBuilder(one).publish({ at: day(0), paths: ['a'] });
    await new CacheBuilder(other).publish({ at: day(0), paths: ['b'] });
    const late = await openWatched(other, { directory });
    await (await openWatched(one, { directory })).reader.refresh();
    await late.reader.refresh();
    expect(late.warnings).toEqual([expect.stringContaining('is of registry/one')]);
    expect(namesIn(late.reader)).toEqual(['b']);
    expect(namesIn((await openWatched(one, { directory })).reader)).toEqual(['a']);
  });

  it.each(['.narinfos', '.rows'])(
    'with one changed bit in a %s file is not relied upon by a writer',
    async (suffix) => {
      const held = watched();
      const directory = await tempDir();
      await new CacheBuilder(held.store).publish({ at: day(0), paths: [{ name: 'a', references: ['b'] }] });
      await (await openWatched(held.store, { directory })).reader.refresh();
      await flipBit(directory, suffix, 100);
      held.calls.length = 0;
      const { reader } = await openWatched(held.store, { directory, strict: true });
      await reader.refresh();
      expect(held.calls).toContain('fetchBlob');
      expect(reader.findEntry(hashPartFor('a'))?.narInfo.references).toEqual([baseNameFor('b')]);
      expect(namesIn((await openWatched(held.store, { directory, strict: true })).reader)).toEqual(['a']); // mended on disk, too
    },
  );

  it('with one changed bit in a checkpoint is not relied upon', async () => {
    const held = watched();
    const directory = await tempDir();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a', 'old'], roots: ['old'] });
    await cache.publish({ at: day(50), paths: ['b'], roots: ['b'] });
    await gcAt(held.store, day(60), { graceSeconds: 30 * 24 * 60 * 60 });
    await (await openWatched(held.store, { directory })).reader.refresh();
    const [file = ''] = (await readdir(directory)).filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
    const text = await readFile(join(directory, file), 'utf8');
    // Still a config, of a checkpoint that would replace other segments.
    await writeFile(join(directory, file), text.replace(/seg-0/, 'seg-1'));
    const { reader } = await openWatched(held.store, { directory, strict: true });
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['b']);
    expect(await readFile(join(directory, file), 'utf8')).toBe(text);
  });

  it('lets a reader start with the registry out of reach', async () => {
    const held = watched();
    const directory = await tempDir();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'], publicKeys: [key] });
    const first = await openWatched(held.store, { directory });
    await first.reader.refresh();
    first.reader.close();
    held.down = true;
    const { reader } = await openWatched(held.store, { directory });
    expect(namesIn(reader)).toEqual(['a']);
    expect(await reader.fetchPublicKeys()).toEqual([key]);
    expect(reader.status()).toMatchObject({ entries: 1, refreshedAt: undefined });
    reader.close();
  });

  it('spares the download of what is in it', async () => {
    const held = watched();
    const directory = await tempDir();
    const cache = new CacheBuilder(held.store);
    await cache.publish({ at: day(0), paths: ['a'] });
    await (await openWatched(held.store, { directory })).reader.refresh();
    await cache.publish({ at: day(1), paths: ['b'] });
    held.calls.length = 0;
    const { reader } = await openWatched(held.store, { directory });
    expect(await reader.refresh()).toMatchObject({ addedSegments: 1 });
    expect(held.calls.filter((method) => method === 'fetchBlob')).toHaveLength(1);
    expect(namesIn(reader)).toEqual(['a', 'b']);
  });

  it.each(['.narinfos', '.rows'])('with a %s file cut short is filled again', async (suffix) => {
    const held = watched();
    const directory = await tempDir();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    await (await openWatched(held.store, { directory })).reader.refresh();
    const [file = ''] = (await readdir(directory)).filter((name) => name.endsWith(suffix));
    await truncate(join(directory, file), 10);
    const { reader } = await openWatched(held.store, { directory });
    expect(reader.status().entries).toBe(0);
    expect(await reader.refresh()).toMatchObject({ changed: true });
    expect(namesIn(reader)).toEqual(['a']);
  });

  it('with a state that is garbage starts afresh', async () => {
    const held = watched();
    const directory = await tempDir();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    await writeFile(join(directory, 'state.json'), '{"version":1,"tags":3');
    const { reader } = await openWatched(held.store, { directory });
    await reader.refresh();
    expect(namesIn(reader)).toEqual(['a']);
  });

  it('loses files of segments that are gone, a day later', async () => {
    const held = watched();
    const directory = await tempDir();
    await writeFile(join(directory, `${'0'.repeat(64)}.narinfos`), 'old');
    await writeFile(join(directory, `${'1'.repeat(64)}.narinfos`), 'young');
    await utimes(join(directory, `${'0'.repeat(64)}.narinfos`), new Date(0), new Date(0));
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    await (await openWatched(held.store, { directory })).reader.refresh();
    const files = await readdir(directory);
    expect(files).not.toContain(`${'0'.repeat(64)}.narinfos`);
    expect(files).toContain(`${'1'.repeat(64)}.narinfos`);
    expect(files).toHaveLength(4);
  });

  it('that cannot be made costs a warning and nothing else', async () => {
    const held = watched();
    await new CacheBuilder(held.store).publish({ at: day(0), paths: ['a'] });
    const file = join(await tempDir(), 'file');
    await writeFile(file, '');
    const { reader, warnings } = await openWatched(held.store, { directory: join(file, 'index') });
    await reader.refresh();
    expect(warnings).toHaveLength(1);
    expect(namesIn(reader)).toEqual(['a']);
    await rm(file);
  });
});

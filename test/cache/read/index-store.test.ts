/** What a reader keeps between runs, in a directory and in a store that answers by promises, as a Worker has it. */
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openDirectoryIndex } from '../../../src/cache/disk/directory-index.ts';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import type { IndexStore, KeptText } from '../../../src/cache/read/index-store.ts';
import { nameOf } from '../../../src/nix/store-path.ts';
import { CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';
import { tempDir } from '../../support/temp-dir.ts';

/** Like a key-value store: nothing is at hand, and nothing is old. */
class SlowIndex implements IndexStore {
  readonly name = 'somewhere else';
  readonly #pieces = new Map<string, Buffer>();

  async has(piece: string): Promise<boolean> {
    await delay(1);
    return this.#pieces.has(piece);
  }

  async read(piece: string): Promise<Buffer | undefined> {
    await delay(1);
    return this.#pieces.get(piece);
  }

  async open(piece: string): Promise<KeptText | undefined> {
    const bytes = await this.read(piece);
    return (
      bytes && {
        size: bytes.length,
        read: (offset, length) => bytes.toString('utf8', offset, offset + length),
        close: () => undefined,
      }
    );
  }

  async write(piece: string, bytes: Uint8Array): Promise<boolean> {
    await delay(1);
    this.#pieces.set(piece, Buffer.from(bytes));
    return true;
  }

  async prune(): Promise<void> {
    await delay(1);
  }
}

const names = (reader: IndexReader): string[] =>
  [...reader.entries()].map(({ entry }) => nameOf(entry.narInfo.path)).sort();

describe.each<[string, () => Promise<IndexStore | undefined>]>([
  ['a directory', async () => openDirectoryIndex(await tempDir())],
  ['a store that answers later', async () => new SlowIndex()],
])('an index in %s', (_, openIndex) => {
  it.each([true, false])('is known to the next reader, which fetches what is new (strict: %s)', async (strict) => {
    const index = await openIndex();
    const fetched: unknown[] = [];
    const store = new MemoryStore({
      onCall: (method, [target]) => void (method === 'fetchBlob' && fetched.push(target)),
    });
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a'] });
    await (await IndexReader.open({ store, strict, index })).refresh();
    await cache.publish({ at: day(1), paths: ['b'] });
    fetched.length = 0;
    const reader = await IndexReader.open({ store, strict, index });
    expect(names(reader)).toEqual(['a']);
    await reader.refresh();
    expect(fetched).toHaveLength(1);
    expect(reader.findNarInfoText(hashPartFor('b'))).toMatch(/^StorePath: .*-b\n/); // at once
    expect(names(reader)).toEqual(['a', 'b']);
    reader.close();
  });

  it('of another cache is left to that', async () => {
    const index = await openIndex();
    for (const name of ['one', 'other', 'one']) {
      const store = new MemoryStore({ name });
      await new CacheBuilder(store).publish({ at: day(0), paths: [`path-of-${name}`] });
      const warnings: string[] = [];
      const reader = await IndexReader.open({ store, strict: false, index, onWarning: (text) => warnings.push(text) });
      await reader.refresh();
      expect(names(reader)).toEqual([`path-of-${name}`]);
      expect(warnings).toHaveLength(name === 'other' ? 1 : 0);
      reader.close();
    }
  });
});

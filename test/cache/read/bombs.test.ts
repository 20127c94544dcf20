/** What is small where it lies and large once it is read breaks itself, and nothing beside it. */
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { encodeEntries, MAX_ENTRIES } from '../../../src/cache-index/entries-blob.ts';
import { parseEntry } from '../../../src/cache-index/entry.ts';
import { LookupTable } from '../../../src/cache-index/lookup-table.ts';
import { decodeSegmentConfig } from '../../../src/cache-index/segment.ts';
import { slotHash } from '../../../src/cache-index/slot-hash.ts';
import { decodeImageIndex } from '../../../src/oci/manifest.ts';
import { addSegment, ENTRIES_BOMBS } from '../../support/bombs.ts';
import { CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

describe.each(Object.entries(ENTRIES_BOMBS))('a segment of %s', (_, bomb) => {
  it('is left out by readers with a warning, stops writers, and costs the others nothing', async () => {
    const store = new MemoryStore();
    await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
    const tag = await addSegment(store, bomb(), day(1));
    const warnings: string[] = [];
    const onWarning = (message: string): unknown => warnings.push(message);
    const reader = await IndexReader.open({ store, strict: false, onWarning });
    await reader.refresh();
    expect(warnings).toEqual([expect.stringContaining(tag)]);
    expect(reader.findEntry(hashPartFor('a'))).toBeDefined();
    const writer = await IndexReader.open({ store, strict: true });
    await expect(writer.refresh()).rejects.toMatchObject({ code: 'ERR_INDEX' });
  });
});

describe('JSON that becomes much more in memory', () => {
  const deep = Buffer.from('['.repeat(16 * 1024 * 1024));
  const wide = Buffer.from(`[${'[],'.repeat(5_000_000)}0]`);

  it.each([
    ['nested without end', deep],
    ['of millions of values', wide],
  ])('%s is no config and no manifest', (_, bytes) => {
    expect(() => decodeSegmentConfig(bytes, 'it')).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
    expect(() => decodeImageIndex(bytes, 'it')).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
  });

  it('is no header of a look-up table', () => {
    const header = Buffer.alloc(8);
    header.write('NCK1');
    header.writeUInt32LE(deep.length, 4);
    const bytes = Buffer.concat([header, deep]);
    expect(() => LookupTable.decode(bytes, 'it')).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
  });
});

it.each([0, 4, 8, 12, 16])('hashes that differ only in four bytes from byte %i on do not meet in one slot', (at) => {
  const count = 4096;
  const slots = new Set<number>();
  for (let number = 0; number < count; number++) {
    const key = new Uint8Array(20);
    new DataView(key.buffer).setUint32(at, number << 16); // in the low bits of no word
    slots.add(slotHash(key, 0, key.length) % count);
  }
  // Of so many balls in as many boxes some 63 % of the boxes get one.
  expect(slots.size).toBeGreaterThan(count / 4);
});

it('an entry with more extents than a segment has layers is none', () => {
  const hash = '0'.repeat(52);
  const extent = ` sha256:${'0'.repeat(64)}@0+1`;
  const text = [
    `StorePath: /nix/store/${'0'.repeat(32)}-x`,
    ...['URL: nar/x.nar', 'Compression: none', `FileHash: sha256:${hash}`, 'FileSize: 2000'],
    ...[`NarHash: sha256:${hash}`, 'NarSize: 2000', 'References: ', `NixcacheNar:${extent.repeat(2000)}`, ''],
  ].join('\n');
  expect(() => parseEntry(text, '/nix/store')).toThrow(/more than 1000 extents/);
});

it('writers make no segment that readers would not take', () => {
  const entries = new Array(MAX_ENTRIES + 1).fill({
    narInfo: {
      ...{ path: `/nix/store/${'0'.repeat(32)}-x`, url: 'nar/x.nar', compression: 'none', references: [], sigs: [] },
      ...{ fileHash: `sha256:${'0'.repeat(52)}`, fileSize: 0, narHash: `sha256:${'0'.repeat(52)}`, narSize: 1 },
    },
    nar: [],
  });
  expect(() => encodeEntries(entries)).toThrow(expect.objectContaining({ code: 'ERR_UNSUPPORTED' }));
  expect(zstdCompressSync(Buffer.from(encodeEntries(entries.slice(1)))).length).toBeGreaterThan(0);
});

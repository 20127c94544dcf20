import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { decodeEntries, encodeEntries, entryRanges, formatEntries } from '../../src/cache-index/entries-blob.ts';
import { type Entry, formatEntry, parseEntry } from '../../src/cache-index/entry.ts';
import { EntryTable, FILE_KEY_BYTES, type SegmentRows } from '../../src/cache-index/entry-table.ts';
import {
  decodeRows,
  encodeRows,
  isEntry,
  isIntact,
  realisationKey,
  scanEntries,
} from '../../src/cache-index/segment-rows.ts';
import { hashToBytes } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { type HashPart, hashPartOf } from '../../src/nix/store-path.ts';
import { entry } from '../support/cache-arbitraries.ts';

const entries = (): fc.Arbitrary<Entry[]> =>
  fc.uniqueArray(entry(), { maxLength: 8, selector: ({ narInfo }) => hashPartOf(narInfo.path) });

test('an entries blob gives its entries back, sorted by store hash', () => {
  fc.assert(
    fc.property(entries(), (some) => {
      const text = decodeEntries(encodeEntries(some), 'blob');
      const parsed = [...entryRanges(text)].map(({ offset, length }) =>
        parseEntry(text.toString('utf8', offset, offset + length), '/nix/store'),
      );
      const sorted = some.toSorted((a, b) => (hashPartOf(a.narInfo.path) < hashPartOf(b.narInfo.path) ? -1 : 1));
      expect(parsed).toEqual(sorted);
    }),
  );
});

it('refuses a blob that does not unpack', () => {
  expect(() => decodeEntries(Buffer.from('garbage'), 'blob')).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
});

test('rows name the hashes and places of entries', () => {
  fc.assert(
    fc.property(entries(), (some) => {
      const text = Buffer.from(formatEntries(some));
      const rows = scanEntries(text, 'blob');
      expect(rows.count).toBe(some.length);
      for (let row = 0; row < rows.count; row++) {
        const [offset = 0, length = 0] = [rows.offsets[row], rows.lengths[row]];
        const { narInfo } = parseEntry(text.toString('utf8', offset, offset + length), '/nix/store');
        expect(encode(rows.storeHashes.subarray(row * 20, row * 20 + 20))).toBe(hashPartOf(narInfo.path));
        const key = rows.fileKeys.subarray(row * FILE_KEY_BYTES, (row + 1) * FILE_KEY_BYTES);
        expect(key).toEqual(hashToBytes(narInfo.fileHash).subarray(0, FILE_KEY_BYTES));
      }
      const sorted = some.toSorted((a, b) => (hashPartOf(a.narInfo.path) < hashPartOf(b.narInfo.path) ? -1 : 1));
      const ids = sorted.flatMap(({ realisations = [] }, row) => realisations.map(({ id }) => ({ id, row })));
      expect([...(rows.realisations?.rows ?? [])]).toEqual(ids.map(({ row }) => row));
      expect(Buffer.from(rows.realisations?.keys ?? [])).toEqual(
        Buffer.concat(ids.map(({ id }) => realisationKey(id))),
      );
    }),
  );
});

test('decoding rows undoes encoding them', () => {
  fc.assert(
    fc.property(entries(), (some) => {
      const text = Buffer.from(formatEntries(some));
      const rows = scanEntries(text, 'blob');
      expect(decodeRows(encodeRows(rows, text), text.length)?.rows).toEqual(rows);
    }),
  );
});

test('rows that were cut, changed in length or belong to another text are not taken', () => {
  fc.assert(
    fc.property(entries(), fc.nat(), (some, cut) => {
      const text = Buffer.from(formatEntries(some));
      const bytes = encodeRows(scanEntries(text, 'blob'), text);
      expect(decodeRows(bytes.subarray(0, cut % bytes.length), text.length)).toBeUndefined();
      expect(decodeRows(Buffer.concat([bytes, Buffer.alloc(1)]), text.length)).toBeUndefined();
      expect(decodeRows(bytes, text.length + 1)).toBeUndefined();
    }),
  );
});

test('one changed bit in rows or text is found', () => {
  fc.assert(
    fc.property(fc.array(entry(), { minLength: 1, maxLength: 3 }), fc.nat(), fc.nat({ max: 7 }), (some, at, bit) => {
      const text = Buffer.from(formatEntries(some));
      const rows = encodeRows(scanEntries(text, 'blob'), text);
      expect(isIntact(rows, text)).toBe(true);
      const changed = (bytes: Buffer, from: number): Buffer => {
        const other = Buffer.from(bytes);
        const place = from + (at % (bytes.length - from));
        other[place] = (other[place] ?? 0) ^ (1 << bit);
        return other;
      };
      expect(isIntact(rows, changed(text, 0))).toBe(false);
      expect(decodeRows(changed(rows, 48), text.length)).toBeUndefined(); // before that is what belongs to the text
      const kept = decodeRows(rows, text.length);
      if (!kept) throw new Error('rows are not taken');
      const isEach = (of: Buffer): boolean[] =>
        [...entryRanges(text)].map(({ offset, length }) =>
          isEntry(kept, offset, of.toString('utf8', offset, offset + length)),
        );
      expect(isEach(text)).not.toContain(false);
      const place = at % text.length; // between entries it is nobody's
      const hit = [...entryRanges(text)].filter(({ offset, length }) => offset <= place && place < offset + length);
      expect(isEach(changed(text, 0)).filter((is) => !is)).toHaveLength(hit.length);
    }),
  );
});

it.each(['', 'no entry\n', 'StorePath: short\n', 'StorePath: /nix/store/x\nFileHash: y\n'].slice(1))(
  'refuses a text without entries in it: %j',
  (text) => {
    expect(() => scanEntries(Buffer.from(text), 'blob')).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
  },
);

test('an entry table finds what a Map would find, the newest of each key', () => {
  /** So few hashes that segments overlap, and that some differ only behind the bytes that place them. */
  const hash = (width: number) =>
    fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })).map(([first, last]) => {
      const bytes = new Uint8Array(width);
      bytes[0] = first;
      bytes[FILE_KEY_BYTES - 1] = last;
      return bytes;
    });
  const segment = fc.uniqueArray(fc.record({ store: hash(20), file: hash(32) }), {
    maxLength: 12,
    selector: ({ store }) => store.join(),
  });
  const rowsOf = (some: readonly { store: Uint8Array; file: Uint8Array }[]): SegmentRows => ({
    count: some.length,
    storeHashes: Buffer.concat(some.map(({ store }) => store)),
    fileKeys: Buffer.concat(some.map(({ file }) => file.subarray(0, FILE_KEY_BYTES))),
    offsets: Uint32Array.from(some, (_, i) => i * 10),
    lengths: Uint32Array.from(some, (_, i) => i + 1),
  });
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 6 }), hash(20), hash(32), (segments, otherStore, otherFile) => {
      const table = new EntryTable();
      const byStore = new Map<string, unknown>();
      const byFile = new Map<string, unknown>();
      segments.forEach((some, at) => {
        expect(table.add(rowsOf(some))).toBe(at);
        some.forEach(({ store, file }, i) => {
          const row = { segment: at, row: i, offset: i * 10, length: i + 1 };
          byStore.set(encode(store), row);
          byFile.set(encode(file), row);
        });
      });
      for (const each of [table, EntryTable.of(segments.map(rowsOf))]) {
        expect(each.size).toBe(byStore.size);
        for (const key of [...byStore.keys(), encode(otherStore)]) {
          expect(each.find(key as HashPart)).toEqual(byStore.get(key));
        }
        for (const { file } of [...segments.flat(), { file: otherFile }]) {
          expect(each.findFile(file)).toEqual(byFile.get(encode(file)));
        }
        expect(new Set([...each.rows()].map((row) => JSON.stringify(row)))).toEqual(
          new Set([...byStore.values()].map((row) => JSON.stringify(row))),
        );
      }
    }),
  );
});

it('holds entries as their formatted text', () => {
  const [one] = fc.sample(entry(), 1);
  if (!one) throw new Error('no sample');
  expect(formatEntries([one])).toBe(formatEntry(one));
});

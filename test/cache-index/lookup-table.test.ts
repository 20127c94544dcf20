import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { encodeLookup, LookupTable } from '../../src/cache-index/lookup-table.ts';
import { NixcacheError } from '../../src/errors.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import type { HashPart } from '../../src/nix/store-path.ts';

const DAY = 86_400;
const hashPart = (start: string): HashPart => start.padEnd(32, '0') as HashPart;
const entry = (start: string, asserted: number) => ({ hashPart: hashPart(start), asserted });

describe('a look-up table', () => {
  const bytes = encodeLookup('/nix/store', [
    { tag: 'one', count: 3, entries: [entry('0a', 3 * DAY), entry('1b', 4 * DAY + 5), entry('zz', 0)] },
    { tag: 'empty', count: 0, entries: [] },
    { tag: 'two', count: 1, entries: [entry('1b', 9 * DAY)] },
  ]);
  const table = LookupTable.decode(bytes, 'table');

  it('names the segments that hold a path, and the day it was asserted', () => {
    expect([...table.find(hashPart('0a'))]).toEqual([{ tag: 'one', asserted: 3 * DAY }]);
    expect([...table.find(hashPart('1b'))]).toEqual([
      { tag: 'one', asserted: 4 * DAY },
      { tag: 'two', asserted: 9 * DAY },
    ]);
    expect([...table.find(hashPart('zz'))]).toEqual([{ tag: 'one', asserted: 0 }]);
  });

  it('knows nothing of others', () => {
    for (const other of ['00', '0b', '1c', 'zy']) expect([...table.find(hashPart(other))]).toEqual([]);
    expect([...table.find(`0a${'0'.repeat(9)}1${'0'.repeat(20)}` as HashPart)]).toEqual([]);
  });

  it('says what it is a table of', () => {
    expect(table.storeDir).toBe('/nix/store');
    expect([...table.segments]).toEqual([
      ['one', 3],
      ['empty', 0],
      ['two', 1],
    ]);
  });

  it.each([0, 4, 12, bytes.length - 1])('is refused when cut off after %i bytes', (length) => {
    expect(() => LookupTable.decode(bytes.subarray(0, length), 'the table of x')).toThrow(/the table of x is no/);
  });
});

const anyHashPart = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => encode(bytes) as HashPart);
const segment = fc.uniqueArray(anyHashPart, { maxLength: 30 }).map((list) => list.sort());

test('every entry is found in its segment, whatever the hashes', () => {
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 5 }), (lists) => {
      const segments = lists.map((list, i) => ({
        tag: `seg-${i}`,
        count: list.length,
        entries: list.map((each, n) => ({ hashPart: each, asserted: n * DAY })),
      }));
      const table = LookupTable.decode(encodeLookup('/gnu/store', segments), 'table');
      for (const { tag, entries } of segments) {
        for (const { hashPart: each, asserted } of entries)
          expect([...table.find(each)]).toContainEqual({ tag, asserted });
      }
    }),
  );
});

test('whatever the bytes, they are decoded or refused by name', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const marked = Buffer.concat([Buffer.from('NCK1'), bytes]);
      for (const each of [Buffer.from(bytes), marked]) {
        try {
          LookupTable.decode(each, 'table');
        } catch (error) {
          expect(error).toBeInstanceOf(NixcacheError);
        }
      }
    }),
  );
});

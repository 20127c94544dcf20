import { describe, expect, it } from 'vitest';
import { LeftOut } from '../../../src/cache/read/left-out.ts';
import { encodeLookup, LookupTable } from '../../../src/cache-index/lookup-table.ts';
import type { HashPart } from '../../../src/nix/store-path.ts';
import { digestOf } from '../../../src/oci/digest.ts';

const hashPart = (start: string): HashPart => start.padEnd(32, '0') as HashPart;
const entries = (...starts: readonly string[]) => starts.map((start) => ({ hashPart: hashPart(start), asserted: 0 }));

describe('what is left out', () => {
  const bytes = encodeLookup('/nix/store', [
    { tag: 'live', count: 2, entries: entries('0a', '0b') },
    { tag: 'dead', count: 1, entries: entries('0c') },
  ]);
  const tables = new Map([[digestOf(bytes), LookupTable.decode(bytes, 'table')]]);
  const leftOut = new LeftOut(new Set(['live']), tables);

  it('is not what a table says of segments that were replaced or are at hand', () => {
    expect(leftOut.find(hashPart('0a'))).toEqual([{ tag: 'live', asserted: 0 }]);
    expect(leftOut.find(hashPart('0c'))).toEqual([]);
    expect(leftOut.entries).toBe(2);
  });

  it('is nothing once it has been fetched', () => {
    const none = leftOut.without(new Set(['live']));
    expect(none.find(hashPart('0a'))).toEqual([]);
    expect([none.entries, none.storeDir]).toEqual([0, undefined]);
  });
});

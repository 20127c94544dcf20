import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Inventory } from '../../src/census/inventory.ts';
import { NameList } from '../../src/census/name-list.ts';
import { packageOf, sizesByName } from '../../src/census/name-sizes.ts';
import { Slices, sortedNumbers } from '../../src/census/slices.ts';
import { hashFromHex } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { parseBaseName, toStorePath } from '../../src/nix/store-path.ts';
import { noise } from '../support/bytes.ts';

const name = fc.stringMatching(/^[a-cA-C+.-]{1,6}$/);
const slices = (): Slices => new Slices(async () => {});
const found = (names: NameList, words: string[]): number[] =>
  [...names.search(words)].filter((number) => number !== undefined);

describe('names', () => {
  it('are found by any parts of them, in any letters, and ordered as texts are', () => {
    fc.assert(
      fc.property(fc.array(name, { maxLength: 30 }), fc.array(name, { minLength: 1, maxLength: 3 }), (all, words) => {
        const names = new NameList();
        for (const each of all) names.add(each);
        const lower = all.map((each) => each.toLowerCase());
        const holds = (text: string): boolean => words.every((word) => text.includes(word.toLowerCase()));
        expect(found(names, words)).toEqual(lower.flatMap((each, i) => (holds(each) ? i : [])));
        expect(all.map((_, i) => names.at(i))).toEqual(lower);
        const order = all.map((_, i) => i).sort((a, b) => names.compare(a, b) || a - b);
        expect(order.map((i) => lower[i])).toEqual([...lower].sort());
      }),
    );
  });

  it('are not found across their ends, or by nothing', () => {
    const names = new NameList();
    for (const each of ['ab', 'cd']) names.add(each);
    expect([found(names, ['b\nc']), found(names, ['bc']), found(names, ['']), found(names, [])]).toEqual([
      [],
      [],
      [],
      [],
    ]);
  });
});

describe('numbers', () => {
  it.each([0, 1, 1023, 1024, 1025, 5000])('%i of them are sorted as one sorts', async (count) => {
    const keys = Uint32Array.from({ length: count }, (_, i) => noise(4, i).readUInt32LE() % 100);
    const compare = (a: number, b: number): number => (keys[a] ?? 0) - (keys[b] ?? 0) || a - b;
    const expected = Array.from({ length: count }, (_, i) => i).sort(compare);
    expect([...(await sortedNumbers(count, compare, slices()))]).toEqual(expected);
  });

  it('are sorted in turns with others', async () => {
    let turns = 0;
    await sortedNumbers(20_000, (a, b) => b - a, new Slices(async () => void turns++));
    expect(turns).toBeGreaterThan(5);
  });
});

describe('package names', () => {
  it.each([
    ['bash-5.2', 'bash'],
    ['bash-5.2-doc', 'bash'],
    ['gcc-wrapper-14.1', 'gcc-wrapper'],
    ['hello', 'hello'],
    ['nix-shell-env', 'nix-shell-env'],
    ['a-', 'a-'],
    ['-1', '-1'],
  ])('of %s is %s', (full, expected) => expect(packageOf(full)).toBe(expected));

  it('have the bytes of all that is called so, and the largest are told', async () => {
    const names = fc.array(fc.tuple(fc.constantFrom('a', 'a+x', 'b', 'c', 'd', 'e', 'f'), fc.nat(9), fc.nat(1000)));
    await fc.assert(
      fc.asyncProperty(names, fc.integer({ min: 1, max: 4 }), async (all, count) => {
        const inventory = new Inventory();
        const sums = new Map<string, number>();
        for (const [i, [stem, version, bytes]] of all.entries()) {
          const full = version === 0 ? stem : `${stem}-${version}`;
          const hash = hashFromHex('00'.repeat(32));
          const path = toStorePath(parseBaseName(`${encode(noise(20, i))}-${full}`));
          const info = {
            path,
            url: 'nar/x',
            compression: 'none',
            fileHash: hash,
            narHash: hash,
            references: [],
            sigs: [],
          };
          inventory.add({ narInfo: { ...info, narSize: bytes, fileSize: bytes }, nar: [] }, 0);
          sums.set(stem, (sums.get(stem) ?? 0) + bytes);
        }
        const byName = await sortedNumbers(inventory.count, (a, b) => inventory.names.compare(a, b), slices());
        const { largest, rest } = await sizesByName(inventory, byName, count, slices());
        const expected = [...sums].sort(([x, a], [y, b]) => b - a || (x < y ? -1 : 1));
        expect(largest.map(({ name, fileBytes }) => [name, fileBytes])).toEqual(expected.slice(0, count));
        expect(rest.fileBytes).toBe(expected.slice(count).reduce((sum, [, bytes]) => sum + bytes, 0));
        expect(rest.names).toBe(Math.max(0, expected.length - count));
      }),
    );
  });
});

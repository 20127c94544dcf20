import { expect, it } from 'vitest';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { Withheld } from '../../src/serve/withheld.ts';
import { noise } from '../support/bytes.ts';

const file = (seed: number) => hashFromBytes(noise(32, seed));

it('tells what was known from what is new, until all is forgotten', () => {
  const withheld = new Withheld();
  expect([withheld.add(file(1)), withheld.add(file(1)), withheld.add(file(2))]).toEqual([true, false, true]);
  expect([1, 2, 3].map((seed) => withheld.has(file(seed)))).toEqual([true, true, false]);
  withheld.clear();
  expect([withheld.has(file(1)), withheld.add(file(1))]).toEqual([false, true]);
});

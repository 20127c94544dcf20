import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import {
  baseNameOf,
  hashPartOf,
  isHashPart,
  nameOf,
  parseBaseName,
  parseStorePath,
  storeDirOf,
  toStorePath,
} from '../../src/nix/store-path.ts';
import { baseName } from '../support/nix-arbitraries.ts';

const HASH = '5v8xcr5gmsk4dqyi7kmybwhqxi3prplv';

describe('a store path', () => {
  it('is taken apart', () => {
    const path = parseStorePath(`/nix/store/${HASH}-dep-1.0`);
    expect(baseNameOf(path)).toBe(`${HASH}-dep-1.0`);
    expect(hashPartOf(path)).toBe(HASH);
    expect(hashPartOf(baseNameOf(path))).toBe(HASH);
    expect(nameOf(path)).toBe('dep-1.0');
    expect(nameOf(baseNameOf(path))).toBe('dep-1.0');
    expect(storeDirOf(path)).toBe('/nix/store');
  });

  it('may lie in another store', () => {
    expect(storeDirOf(parseStorePath(`/gnu/store/${HASH}-dep`, '/gnu/store'))).toBe('/gnu/store');
  });

  it.each(['a', 'A', '0', '+x', '-', '_', '?x=1', '=', '.gitignore', '..x', '.x-y', 'x-..', 'x'.repeat(211)])(
    'may be named %s',
    (name) => {
      expect(nameOf(parseBaseName(`${HASH}-${name}`))).toBe(name);
    },
  );

  it.each(['', '.', '..', '.-x', '..-x', 'a/b', 'a b', 'a\n', 'a\0', 'é', 'a*b', 'a~', 'x'.repeat(212)])(
    'may not be named %j',
    (name) => {
      expect(() => parseBaseName(`${HASH}-${name}`)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
    },
  );

  it.each([
    HASH,
    `${HASH}x-a`,
    `${HASH.slice(1)}-a`,
    `${HASH}.a`,
    `e${HASH.slice(1)}-a`,
    `${HASH.toUpperCase()}-a`,
    '',
  ])('is not %j', (text) => {
    expect(() => parseBaseName(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });

  it.each([
    `${HASH}-a`,
    `/nix/store/${HASH}-a/bin`,
    `/nix/store//${HASH}-a`,
    `/nix/storex/${HASH}-a`,
    `/nix/store-${HASH}-a`,
    `/nix/store/../store/${HASH}-a`,
    `/nix/store/${HASH}-a/`,
    '/nix/store',
    '/nix/store/',
  ])('does not read %j', (text) => {
    expect(() => parseStorePath(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

describe('a hash part', () => {
  it.each([
    [HASH, true],
    [`${HASH}0`, false],
    [HASH.slice(1), false],
    [`${HASH.slice(1)}\n`, false],
    [`${HASH}\n`, false],
    ['../../../../../../../etc/passwd0', false],
  ])('%j: %s', (text, expected) => {
    expect(isHashPart(text)).toBe(expected);
  });
});

test('a base name and its store path lead to each other', () => {
  fc.assert(
    fc.property(baseName(), (name) => {
      const path = parseStorePath(toStorePath(name));
      expect(baseNameOf(path)).toBe(name);
      expect(`${hashPartOf(path)}-${nameOf(path)}`).toBe(name);
    }),
  );
});

test('parseStorePath throws nothing but ERR_FORMAT', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `/nix/store/${HASH}-${text}`),
      ),
      (text) => {
        try {
          parseStorePath(text);
        } catch (error) {
          expect(isNixcacheError(error, 'ERR_FORMAT')).toBe(true);
        }
      },
    ),
  );
});

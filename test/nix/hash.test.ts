import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { hashFromBytes, hashFromHex, hashToBase32, hashToBytes, hashToHex, parseHash } from '../../src/nix/hash.ts';
import { hashToSri, nixHash } from '../support/nix-arbitraries.ts';

const HEX = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const BASE32 = '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';
const BASE64 = 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='; // `nix hash to-base64`, Nix 2.8.0

describe('a hash', () => {
  it.each([
    `sha256:${HEX}`,
    `sha256:${HEX.toUpperCase()}`,
    `sha256:${BASE32}`,
    `sha256:${BASE64}`,
    `sha256-${BASE64}`,
    `sha256-${BASE64.replace('=', '')}`,
  ])('is read from %s', (text) => {
    expect(parseHash(text)).toBe(`sha256:${BASE32}`);
  });

  it('is read in every algorithm that Nix has', () => {
    // `nix hash to-sri --type sha1`, `nix hash to-base32 --type md5`, Nix 2.8.0.
    expect(parseHash('sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0=')).toBe('sha1:kpcd173cq987hw957sx6m0868wv3x6d9');
    expect(parseHash('md5:900150983cd24fb0d6963f7d28e17f72')).toBe('md5:3jgzhjhz9zjvbb0kyj7jc500ch');
    expect(parseHash(`sha512:${HEX}${HEX}`)).toMatch(/^sha512:[a-z0-9]{103}$/);
    expect(parseHash(`blake3:${HEX}`)).toBe(`blake3:${BASE32}`);
  });

  it('is written in every form', () => {
    const hash = parseHash(`sha256:${HEX}`);
    expect(hashToHex(hash)).toBe(HEX);
    expect(hashToBase32(hash)).toBe(BASE32);
    expect(Buffer.from(hashToBytes(hash)).toString('hex')).toBe(HEX);
    expect(hashFromHex(HEX)).toBe(hash);
  });

  it.each([
    '',
    HEX,
    BASE32,
    `sha256${HEX}`,
    `sha256:${HEX}0`,
    `sha256:${HEX.slice(1)}`,
    `sha256:${HEX.replace('b', 'g')}`,
    `sha256:2${BASE32.slice(1)}`,
    `sha256-${BASE32}`,
    `sha256-${HEX}`,
    `sha256-${BASE64.replace('+', '-')}`,
    `sha1:${HEX}`,
    `SHA256:${HEX}`,
    `toString:${HEX}`,
    `sha256: ${HEX}`,
    `sha256:${HEX}\n`,
  ])('is not read from %j', (text) => {
    expect(() => parseHash(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });

  it.each(['', 'zz', HEX.slice(2), `${HEX}00`, `${HEX.slice(2)}zz`])('is not made of hexadecimal %j', (hex) => {
    expect(() => hashFromHex(hex)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });

  it('is not made of too few bytes', () => {
    expect(() => hashFromBytes(new Uint8Array(20))).toThrow(/32 bytes, not 20/);
  });

  it('is quoted in messages without what acts on a terminal, and not at any length', () => {
    expect(() => parseHash(`\u001b[2J\n${'x'.repeat(1000)}`)).toThrow(/^hash '\\u\{1b\}\[2J\\u\{a\}x+…' does not/);
  });
});

test('every form of a hash reads back as the same hash', () => {
  fc.assert(
    fc.property(nixHash(), (hash) => {
      for (const text of [hash, hashToSri(hash), `sha256:${hashToHex(hash)}`]) expect(parseHash(text)).toBe(hash);
    }),
  );
});

test('parseHash throws nothing but ERR_FORMAT', () => {
  const text = fc.oneof(
    fc.string(),
    fc.tuple(fc.constantFrom('sha256:', 'sha1-', 'md5:'), fc.base64String()).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, (input) => {
      try {
        parseHash(input);
      } catch (error) {
        expect(isNixcacheError(error, 'ERR_FORMAT')).toBe(true);
      }
    }),
  );
});

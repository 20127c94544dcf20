import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { ALPHABET, decode, encode, encodedLength } from '../../src/nix/nixbase32.ts';

// `nix hash to-base32 --type ALGORITHM HEX`, Nix 2.8.0; the hashes are those of 'abc'.
const FROM_NIX = [
  ['900150983cd24fb0d6963f7d28e17f72', '3jgzhjhz9zjvbb0kyj7jc500ch'],
  ['a9993e364706816aba3e25717850c26c9cd0d89d', 'kpcd173cq987hw957sx6m0868wv3x6d9'],
  [
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s',
  ],
  [
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    '2gs8k559z4rlahfx0y688s49m2vvszylcikrfinm30ly9rak69236nkam5ydvly1ai7xac99vxfc4ii84hawjbk876blyk1jfhkbbyx',
  ],
] as const;

describe('nix base-32', () => {
  it.each(FROM_NIX)('writes %s as Nix does', (hex, text) => {
    expect(encode(Buffer.from(hex, 'hex'))).toBe(text);
    expect(Buffer.from(decode(text)).toString('hex')).toBe(hex);
  });

  it('needs 32, 52 and 103 characters for sha1, sha256 and sha512', () => {
    expect([20, 32, 64].map(encodedLength)).toEqual([32, 52, 103]);
  });

  it.each(['0', 'e0', '0t', 'zz', 'c0', 'é0', 'A0', `2${'0'.repeat(51)}`, '000', '0\n'])('rejects %j', (text) => {
    expect(() => decode(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

test('decode undoes encode', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
      expect(Buffer.from(decode(encode(bytes)))).toEqual(Buffer.from(bytes));
    }),
  );
});

test('encode undoes decode, so that no two texts mean the same bytes', () => {
  const digits = fc.string({ unit: fc.constantFrom(...ALPHABET), maxLength: 60 });
  fc.assert(
    fc.property(digits, (text) => {
      try {
        expect(encode(decode(text))).toBe(text);
      } catch (error) {
        expect(isNixcacheError(error, 'ERR_FORMAT')).toBe(true);
      }
    }),
  );
});

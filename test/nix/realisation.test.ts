import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatRealisation,
  formatRealisations,
  isRealisationId,
  isRealisationSigned,
  mergeRealisations,
  parseRealisation,
  parseRealisations,
  type Realisation,
  signRealisation,
} from '../../src/nix/realisation.ts';
import { generateKey, parsePublicKey, parseSecretKey } from '../../src/nix/signature.ts';

// `nix copy --to file://…` of content-addressed outputs, Nix 2.8.0.
const FROM_NIX =
  '{"dependentRealisations":{"sha256:635c3c8574b9aa59989b03507db7cc2ee676e92d8764641f567960c9320e0c18!out":"rphn4lwi1ilhyw9nrc0j9jb1rabzwq5w-base"},"id":"sha256:7c8076fe3c9d8695cfe6e1c021d5ea418c45bffc9c9b021afa489a4f4ff5ee0a!out","outPath":"vq0rkywc05ar0ha72naqagifr535vid2-two","signatures":[]}';
const ID = 'sha256:7c8076fe3c9d8695cfe6e1c021d5ea418c45bffc9c9b021afa489a4f4ff5ee0a!out';
const REALISATION = parseRealisation(FROM_NIX, ID);

describe('a realisation', () => {
  it('is read and written as Nix writes it', () => {
    expect(REALISATION).toMatchObject({ id: ID, outPath: 'vq0rkywc05ar0ha72naqagifr535vid2-two', signatures: [] });
    expect(formatRealisation(REALISATION)).toBe(FROM_NIX);
  });

  it('of another output is none', () => {
    expect(() => parseRealisation(FROM_NIX, ID.replace('!out', '!dev'))).toThrow(/no realisation of/);
  });

  it.each([
    '',
    'null',
    '{}',
    '[{}]',
    '[[[[[[[[[',
    `[${FROM_NIX.replace('sha256:7', 'sha256:../7')}]`,
    `[${FROM_NIX.replace('vq0rkywc05ar0ha72naqagifr535vid2-two', '../../etc/passwd')}]`,
    `[${Array.from({ length: 10_000 }, () => FROM_NIX).join(',')}]`,
  ])('is not read from %.40s', (text) => {
    expect(parseRealisations(text)).toBeUndefined();
  });

  it('never makes a reader throw', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        parseRealisations(text);
      }),
    );
  });

  it.each(['sha256:00!out', `${ID}/../x`, `${ID}\n`, ID.replace('!', '%21'), ID.toUpperCase(), ''])(
    'has not the id %j',
    (id) => {
      expect(isRealisationId(id)).toBe(false);
    },
  );
});

describe('signatures of realisations', () => {
  const [one, two] = [generateKey('one-1'), generateKey('two-1')];
  const signed = signRealisation(REALISATION, [parseSecretKey(one.secret)]);

  it('hold for what they cover and for their key', () => {
    expect(isRealisationSigned(signed, [parsePublicKey(one.public)])).toBe(true);
    expect(isRealisationSigned(signed, [parsePublicKey(two.public)])).toBe(false);
    const other: Realisation = {
      ...signed,
      outPath: 'rphn4lwi1ilhyw9nrc0j9jb1rabzwq5w-base' as Realisation['outPath'],
    };
    expect(isRealisationSigned(other, [parsePublicKey(one.public)])).toBe(false);
  });

  it('take the place of others by a key of that name, and leave those of other keys', () => {
    const both = signRealisation(signed, [parseSecretKey(two.secret)]);
    expect(both.signatures.map((sig) => sig.split(':')[0])).toEqual(['one-1', 'two-1']);
    expect(signRealisation(both, [parseSecretKey(one.secret)]).signatures).toHaveLength(2);
  });

  it('of two lists are united where they say the same; else the later counts', () => {
    const byTwo = signRealisation(REALISATION, [parseSecretKey(two.secret)]);
    expect(mergeRealisations([[signed], [byTwo]])[0]?.signatures).toHaveLength(2);
    const later = { ...byTwo, dependentRealisations: {} };
    expect(mergeRealisations([[signed], [later]])).toEqual([later]);
    expect(parseRealisations(formatRealisations([signed]))).toEqual([signed]);
  });
});

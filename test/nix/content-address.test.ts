import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseContentAddress } from '../../src/nix/content-address.ts';

const HEX = '37b0fc83db34f208530f8f757e24ccc0008aee90247d6406cf79b4c507fc668b';
const BASE32 = '12v6zh3wbd3rrw368z94j3p8l060rhj7wxcg1x9hiwilvf1zrc1p';
const BASE64 = 'N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=';
const SHA1 = 'a9993e364706816aba3e25717850c26c9cd0d89d';

describe('a content address', () => {
  it.each([
    [`text:sha256:${BASE32}`, `text:sha256:${BASE32}`],
    [`fixed:sha256:${BASE32}`, `fixed:sha256:${BASE32}`],
    [`fixed:r:sha256:${BASE32}`, `fixed:r:sha256:${BASE32}`],
    [`fixed:r:sha256:${HEX}`, `fixed:r:sha256:${BASE32}`],
    [`fixed:r:sha256:${BASE64}`, `fixed:r:sha256:${BASE32}`],
    [`fixed:git:sha1:${SHA1}`, 'fixed:git:sha1:kpcd173cq987hw957sx6m0868wv3x6d9'],
    [`fixed:sha1:${SHA1}`, 'fixed:sha1:kpcd173cq987hw957sx6m0868wv3x6d9'],
    ['fixed:md5:900150983cd24fb0d6963f7d28e17f72', 'fixed:md5:3jgzhjhz9zjvbb0kyj7jc500ch'],
  ])('%s reads as %s', (text, canonical) => {
    expect(parseContentAddress(text)).toBe(canonical);
  });

  it.each([
    '',
    'junk',
    `sha256:${BASE32}`,
    `text:${BASE32}`,
    `text:r:sha256:${BASE32}`,
    `text:sha1:${SHA1}`,
    `fixed:r:sha256-${BASE64}`, // Nix 2.8: "must be in form '<algo>:<hash>'"
    `fixed:r:r:sha256:${BASE32}`,
    `fixed:r:sha256:${BASE32}x`,
    `fixed:r:sha256:2${BASE32.slice(1)}`,
    'fixed:git:md5:900150983cd24fb0d6963f7d28e17f72',
    `fixed:x:sha256:${BASE32}`,
    `fixed: sha256:${BASE32}`,
    `fixed:sha256:${BASE32}\n`,
    `Fixed:sha256:${BASE32}`,
  ])('%j is none', (text) => {
    expect(() => parseContentAddress(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

test('arbitrary text throws nothing but ERR_FORMAT', () => {
  fc.assert(
    fc.property(fc.constantFrom('', 'text:', 'fixed:', 'fixed:r:', 'fixed:git:'), fc.string(), (prefix, rest) => {
      try {
        expect(parseContentAddress(prefix + rest)).toMatch(/^(text|fixed):/);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_FORMAT' });
      }
    }),
  );
});

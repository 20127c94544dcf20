import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { parseCompression } from '../../src/config/compression.ts';
import { parseByteSize, parseDuration } from '../../src/config/quantities.ts';
import { suggest } from '../../src/config/suggestion.ts';
import { isNixcacheError } from '../../src/errors.ts';

describe('a duration', () => {
  it.each([
    ['45s', 45],
    ['90m', 5400],
    ['12h', 43_200],
    ['30d', 2_592_000],
    ['2w', 1_209_600],
    ['0s', 0],
    [' 1d ', 86_400],
  ])('%s is %i seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it.each(['', '30', 'd', '-1d', '1.5d', '30 d', '1d12h', '30D', '1y', '101000w'])('%j is refused', (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  });

  it('may be bare seconds where that was always the unit', () => {
    expect(parseDuration('300', { bareSeconds: true })).toBe(300);
    expect(parseDuration('5m', { bareSeconds: true })).toBe(300);
  });
});

describe('a size', () => {
  it.each([
    ['0', 0],
    ['65536', 65_536],
    ['500B', 500],
    ['64k', 65_536],
    ['500M', 524_288_000],
    ['500MB', 500_000_000],
    ['2GiB', 2_147_483_648],
    ['1.5G', 1_610_612_736],
    ['2 TiB', 2_199_023_255_552],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseByteSize(text)).toBe(bytes);
  });

  it.each(['', 'M', '-1', '1e9', '5X', '5 M B', 'iB', '5iB', '999999999T'])('%j is refused', (text) => {
    expect(() => parseByteSize(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  });
});

describe('a compression', () => {
  it.each([
    ['zstd', { method: 'zstd', level: undefined }],
    ['zstd:1', { method: 'zstd', level: 1 }],
    ['zstd:22', { method: 'zstd', level: 22 }],
    ['xz', { method: 'xz', level: undefined }],
    ['none', { method: 'none', level: undefined }],
  ])('%s is understood', (text, compression) => {
    expect(parseCompression(text)).toEqual(compression);
  });

  it.each(['', 'gzip', 'zstd:', 'zstd:0', 'zstd:23', 'zstd:-1', 'xz:9', 'ZSTD'])('%j is refused', (text) => {
    expect(() => parseCompression(text)).toThrow(/write zstd, zstd:LEVEL/);
  });
});

describe('a suggestion', () => {
  it.each([
    ['prot', 'port'],
    ['indexTtl', 'index_ttl'],
    ['index-ttl', 'index_ttl'],
    ['retein', 'retain'],
  ])('for %s is %s', (word, meant) => {
    expect(suggest(word, ['port', 'index_ttl', 'retain', 'listen'])).toBe(meant);
  });

  it('is not made for what is far from everything', () => {
    expect(suggest('banana', ['port', 'retain'])).toBeUndefined();
  });
});

test('parsers throw nothing but usage errors, whatever they are given', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      for (const parse of [parseDuration, parseByteSize, parseCompression]) {
        try {
          parse(text);
        } catch (error) {
          if (!isNixcacheError(error, 'ERR_USAGE')) throw error;
        }
      }
    }),
  );
});

test('every whole number of a unit is that many seconds', () => {
  fc.assert(
    fc.property(
      fc.nat(5000),
      fc.constantFrom(['s', 1], ['m', 60], ['h', 3600], ['d', 86_400]),
      (count, [unit, size]) => {
        expect(parseDuration(`${count}${unit}`)).toBe(count * Number(size));
      },
    ),
  );
});

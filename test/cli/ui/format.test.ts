import { describe, expect, it } from 'vitest';
import { formatDuration } from '../../../src/cli/ui/format.ts';
import { truncate, wrapLines } from '../../../src/cli/ui/width.ts';
import { formatBytes, formatCount } from '../../../src/quantity.ts';

describe('bytes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [1024 ** 2 - 1, '1.0 MiB'],
    [12.34 * 1024 ** 2, '12.3 MiB'],
    [340 * 1024 ** 2, '340 MiB'],
    [1.1 * 1024 ** 3, '1.1 GiB'],
    [5000 * 1024 ** 5, '5000 PiB'],
  ])('%i are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe('a time', () => {
  it.each([
    [0, '0.0 s'],
    [449, '0.4 s'],
    [9949, '9.9 s'],
    [9950, '10 s'],
    [59_499, '59 s'],
    [125_000, '2 min 05 s'],
    [3_720_000, '1 h 02 min'],
    [86_399_000, '1 d 0 h'],
    [100 * 3_600_000, '4 d 4 h'],
  ])('of %i ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

describe('counts and texts', () => {
  it('are in singular and plural', () => {
    expect([0, 1, 999, 12_345, 1_234_567].map((count) => formatCount(count, 'path'))).toEqual([
      ...['0 paths', '1 path', '999 paths', '12,345 paths', '1,234,567 paths'],
    ]);
    expect(formatCount(2, 'entry', 'entries')).toBe('2 entries');
  });

  it('are cut by columns, and never within a character', () => {
    expect(truncate('añ😀ñb', 5)).toBe('añ😀…');
    expect(truncate('abcd', 4)).toBe('abcd');
    expect(truncate('abcd', 0)).toBe('…');
  });
});

it('lines that are too long are wrapped below where they begin, others stay as they are', () => {
  expect(wrapLines('Globs:\n  * and ? stay between two dots\n  a    b', 20)).toBe(
    'Globs:\n  * and ? stay\n  between two dots\n  a    b',
  );
});

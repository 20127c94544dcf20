import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { quoted } from '../../src/nix/quoted.ts';

it.each([
  ['plain é', "'plain é'"],
  ['a\nb\u001b[2J\u202e', "'a\\u{a}b\\u{1b}[2J\\u{202e}'"],
  ['\udcff', "'\\u{dcff}'"],
  ['x'.repeat(121), `'${'x'.repeat(120)}…'`],
])('%j is shown as %s', (text, shown) => {
  expect(quoted(text)).toBe(shown);
});

test('nothing quoted is long, or more than a line, or acts on a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 500 }), (text) => {
      expect(quoted(text)).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
      expect(quoted(text).length).toBeLessThan(120 * 8 + 4);
    }),
  );
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { byTime } from '../../src/cache-index/live-set.ts';
import { parseTag, segmentTag, segmentTagBehind } from '../../src/cache-index/tags.ts';
import { digestOf } from '../../src/oci/digest.ts';

const A = digestOf(Buffer.from('a'));
const B = digestOf(Buffer.from('b'));
const TIME = '01kg6qsat3';
const tagOf = (chance: string): string => `seg-${TIME}${chance}-${'f'.repeat(64)}`;

test('a tag behind another sorts after it, of whatever chance that is, and before the next millisecond', () => {
  const chance = fc.string({
    unit: fc.constantFrom(...'0123456789abcdefghjkmnpqrstvwxyz'),
    minLength: 16,
    maxLength: 16,
  });
  fc.assert(
    fc.property(
      chance.filter((text) => !text.startsWith('zzzzzzzz')),
      (text) => {
        const behind = segmentTagBehind(B, tagOf(text));
        expect(byTime(tagOf(text), behind)).toBe(-1);
        expect(parseTag(behind)).toMatchObject({ kind: 'segment', id: B, time: parseTag(tagOf(text))?.time });
      },
    ),
  );
});

test('behind the last tag of a millisecond comes one of the next', () => {
  const last = tagOf('z'.repeat(16));
  expect(parseTag(segmentTagBehind(B, last))?.time).toBe((parseTag(last)?.time ?? 0) + 1);
});

test('no two tags behind one are the same, though they name the same entries', () => {
  const tag = segmentTag(A, new Date('2026-11-27T05:00:00Z'));
  const behind = Array.from({ length: 1000 }, () => segmentTagBehind(A, tag));
  expect(new Set(behind).size).toBe(1000);
});

import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { retryAfterMs } from '../../src/http/retry-after.ts';

const NOW = Date.parse('2026-11-20T12:00:00Z');

it.each([
  ['seconds', { 'retry-after': '12' }, '', 12_000],
  ['fractions of a second', { 'retry-after': '0.5' }, '', 500],
  ['an HTTP date', { 'retry-after': 'Fri, 20 Nov 2026 12:00:30 GMT' }, '', 30_000],
  ['an HTTP date in the past', { 'retry-after': 'Fri, 20 Nov 2026 11:00:00 GMT' }, '', 0],
  ['a Go duration in the header', { 'retry-after': '1m30s' }, '', 90_000],
  ['GHCR: a Go duration in the message', {}, 'retry-after: 1.889377ms, allowed: 2000/minute', 1.889377],
  ['GHCR, microseconds', {}, '{"message":"retry-after: 889.377µs, allowed: 44000/minute"}', 0.889377],
  ['GHCR, minutes', {}, 'retry-after: 2m3.5s, allowed: 2000/minute', 123_500],
  ['GHCR, hours', {}, 'retry-after: 1h0m0s', 3_600_000],
  [
    'GitHub: the time of the reset',
    { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(NOW / 1000 + 60) },
    '',
    60_000,
  ],
  [
    'GitHub, with requests left',
    { 'x-ratelimit-remaining': '7', 'x-ratelimit-reset': String(NOW / 1000 + 60) },
    '',
    undefined,
  ],
  ['the header before the message', { 'retry-after': '1' }, 'retry-after: 5s', 1000],
  ['nothing', {}, 'too many requests', undefined],
  ['nonsense', { 'retry-after': 'soon' }, 'retry-after: soon', undefined],
])('reads %s', (_, headers, body, expected) => {
  const found = retryAfterMs({ headers, body }, NOW);
  if (expected === undefined) expect(found).toBeUndefined();
  else expect(found).toBeCloseTo(expected, 6);
});

test('is never negative, whatever a server says', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (header, body) => {
      const found = retryAfterMs({ headers: { 'retry-after': header }, body }, NOW);
      expect(found === undefined || found >= 0).toBe(true);
    }),
  );
});

import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { negotiate, parseRange } from '../../src/serve/negotiate.ts';

it.each([
  ['bytes=0-0', 0, 1],
  ['bytes=0-', 0, 100],
  ['bytes=10-19', 10, 10],
  ['bytes=99-', 99, 1],
  ['bytes=90-200', 90, 10],
  ['bytes=0-99999999999999999999', 0, 100],
  ['bytes=-1', 99, 1],
  ['bytes=-100', 0, 100],
  ['bytes=-5000', 0, 100],
  ['Bytes= 1-2 ', 1, 2],
])('%s of 100 bytes is %i+%i', (header, offset, length) => {
  expect(parseRange(header, 100)).toEqual({ offset, length });
});

it.each(['bytes=100-', 'bytes=100-200', 'bytes=-0', 'bytes=99999999999999999999-'])('%s lies outside', (header) => {
  expect(parseRange(header, 100)).toBe('unsatisfiable');
});

it.each(['bytes=-', 'bytes=', 'bytes=1-2,4-5', 'bytes=5-4', 'bytes=a-b', 'lines=1-2', 'bytes 1-2', '', 'bytes=0x1-2'])(
  "'%s' is not obeyed",
  (header) => {
    expect(parseRange(header, 100)).toBeUndefined();
  },
);

it('has no range in an empty file', () => {
  expect(parseRange('bytes=0-', 0)).toBe('unsatisfiable');
  expect(parseRange('bytes=-5', 0)).toBe('unsatisfiable');
});

test('a range is never empty and never reaches outside', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^bytes=[0-9]{0,6}-[0-9]{0,6}$/), fc.nat(200_000), (header, size) => {
      const range = parseRange(header, size);
      if (typeof range !== 'object') return;
      expect(range.length).toBeGreaterThan(0);
      expect(range.offset).toBeGreaterThanOrEqual(0);
      expect(range.offset + range.length).toBeLessThanOrEqual(size);
    }),
  );
});

it.each([
  ['its tag', '"a"', 206],
  ['another tag', '"b"', 200],
  ['a weak tag, which does not vouch for bytes', 'W/"a"', 200],
  ['a date, and it has none', 'Fri, 20 Nov 2026 12:00:00 GMT', 200],
])('a part is given when If-Range names the same bytes: %s', (_, ifRange, status) => {
  const headers = new Headers({ Range: 'bytes=0-1', 'If-Range': ifRange });
  const answer = { status: 200, headers: [], body: Buffer.from('text'), etag: '"a"' };
  const reply = negotiate({ method: 'GET', headers }, answer);
  expect([reply.status, String(reply.body)]).toEqual([status, status === 206 ? 'te' : 'text']);
});

it('a range is of GET alone: HEAD tells of the whole', () => {
  const headers = new Headers({ Range: 'bytes=0-1' });
  const answer = { status: 200, headers: [], body: Buffer.from('text'), etag: '"a"' };
  const statuses = ['GET', 'HEAD'].map((method) => negotiate({ method, headers }, answer).status);
  expect(statuses).toEqual([206, 200]);
});

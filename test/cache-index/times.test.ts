import { describe, expect, it } from 'vitest';
import { encodeLookup, LookupTable } from '../../src/cache-index/lookup-table.ts';
import { decodeSegmentConfig } from '../../src/cache-index/segment.ts';
import { parseTag, segmentTag } from '../../src/cache-index/tags.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { hashPartFor } from '../support/cache-builder.ts';

const digest = digestOf(Buffer.from('x'));

describe('a clock', () => {
  it.each([new Date(-1), new Date(0), new Date(Number.NaN), new Date(8.64e15)])(
    'at %s makes no tag, and is named',
    (now) => {
      expect(() => segmentTag(digest, now)).toThrow(
        expect.objectContaining({ code: 'ERR_IO', message: expect.stringContaining('the clock of this machine') }),
      );
    },
  );

  it.each(['1970-01-01T00:00:01Z', '2038-01-19T03:14:08Z', '2106-02-07T06:28:16Z', '9999-12-31T00:00:00Z'])(
    'at %s makes one',
    (text) => {
      const now = new Date(text);
      expect(parseTag(segmentTag(digest, now))?.time).toBe(now.getTime());
    },
  );
});

it.each([-86_400, 0, 2 ** 32, 2 ** 40])(
  'a look-up table holds what was asserted at %i, as near as it can',
  (asserted) => {
    const hashPart = hashPartFor('a');
    const bytes = encodeLookup('/nix/store', [{ tag: 't', count: 1, entries: [{ hashPart, asserted }] }]);
    expect([...LookupTable.decode(bytes, 'it').find(hashPart)]).toHaveLength(1);
  },
);

it.each([-1, 1e300, 1e17])('a record of the time %d, which is no date, makes its config unreadable', (time) => {
  const config = {
    ...{ formatVersion: 1, creator: '', created: '', storeDir: '/nix/store', entryCount: 0, pins: [], publicKeys: [] },
    roots: [{ name: 'a', path: `${'0'.repeat(32)}-a`, time, run: 'r' }],
  };
  expect(() => decodeSegmentConfig(Buffer.from(JSON.stringify(config)), 'it')).toThrow(
    expect.objectContaining({ code: 'ERR_INDEX' }),
  );
});

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { formatNixCacheInfo, parseNixCacheInfo } from '../../src/nix/nix-cache-info.ts';

describe('nix-cache-info', () => {
  it('is read where Nix wrote it', () => {
    const text = readFileSync(new URL('../golden/nix-cache-info', import.meta.url), 'utf8');
    expect(parseNixCacheInfo(text)).toEqual({ storeDir: '/nix/store', wantMassQuery: false, priority: 0 });
  });

  it('is read however it is laid out', () => {
    expect(parseNixCacheInfo('Priority:40abc\r\njunk\nFoo: bar\n\nWantMassQuery:  1 \nStoreDir: /gnu/store')).toEqual({
      storeDir: '/gnu/store',
      wantMassQuery: true,
      priority: 40,
    });
  });

  it('takes nothing but 1 for yes', () => {
    expect(parseNixCacheInfo('WantMassQuery: true\n').wantMassQuery).toBe(false);
  });

  it.each(['abc', '', '99999999999', 'x1'])('with Priority %j stops Nix, and is an error here', (priority) => {
    expect(() => parseNixCacheInfo(`Priority: ${priority}\n`)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

test('reading undoes writing', () => {
  const info = fc.record({
    storeDir: fc.constantFrom('/nix/store', '/gnu/store'),
    wantMassQuery: fc.boolean(),
    priority: fc.integer({ min: 0, max: 100 }),
  });
  fc.assert(
    fc.property(info, (value) => {
      expect(parseNixCacheInfo(formatNixCacheInfo(value))).toEqual(value);
    }),
  );
});

test('parseNixCacheInfo throws nothing but ERR_FORMAT', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `Priority: ${text}\n`),
      ),
      (text) => {
        try {
          parseNixCacheInfo(text);
        } catch (error) {
          expect(isNixcacheError(error, 'ERR_FORMAT')).toBe(true);
        }
      },
    ),
  );
});

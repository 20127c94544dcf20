import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import {
  formatDone,
  formatHeartbeat,
  formatProgressLine,
  type ProgressSnapshot,
} from '../../../src/cli/ui/progress-line.ts';

const GIB = 1024 ** 3;
const half: ProgressSnapshot = {
  title: 'push',
  noun: 'path',
  items: 120,
  totalItems: 300,
  bytes: GIB,
  totalBytes: 2 * GIB,
  elapsedMs: 10_000,
  remainingMs: 10_000,
};

describe('a line of progress', () => {
  it.each([
    [120, 'push  [==============              ]  50%  120/300 paths  1.0 GiB/2.0 GiB  102 MiB/s  ETA 10 s'],
    [80, 'push  [=======       ]  50%  120/300 paths  1.0 GiB/2.0 GiB  102 MiB/s  ETA 10 s'],
    [66, 'push  50%  120/300 paths  1.0 GiB/2.0 GiB  102 MiB/s  ETA 10 s'],
    [60, 'push  50%  120/300 paths  1.0 GiB/2.0 GiB  ETA 10 s'],
    [40, 'push  50%  120/300 paths  ETA 10 s'],
    [24, 'push  50%  ETA 10 s'],
    [12, 'push  50%'],
    [8, 'push'],
    [3, 'pu…'],
  ])('%i characters wide', (width, line) => {
    expect(formatProgressLine(half, width)).toBe(line);
  });

  it('estimates nothing where items differ too much, and says what is worked on', () => {
    const building = { ...half, title: 'build', noun: 'derivation', bytes: 0, totalBytes: undefined };
    const unsteady = { ...building, remainingMs: undefined };
    expect(formatProgressLine({ ...unsteady, note: 'hello-1, world-2' }, 80)).toBe(
      'build  [==    ]  40%  120/300 derivations  hello-1, world-2',
    );
    expect(formatHeartbeat({ ...unsteady, note: 'hello-1' })).toBe(
      'build: 40%, 120/300 derivations, 10 s so far, now hello-1',
    );
  });

  it('draws a bar where there is room left', () => {
    expect(formatProgressLine({ ...half, bytes: 0, totalBytes: undefined }, 60)).toBe(
      'push  [=========             ]  40%  120/300 paths  ETA 10 s',
    );
  });

  it('without totals counts', () => {
    const snapshot = { ...half, totalItems: undefined, totalBytes: undefined, remainingMs: undefined };
    expect(formatProgressLine(snapshot, 100)).toBe('push  120 paths  1.0 GiB  102 MiB/s');
  });
});

describe('in a log', () => {
  it('the heartbeat has everything', () => {
    expect(formatHeartbeat(half)).toBe('push: 50%, 120/300 paths, 1.0 GiB/2.0 GiB, 102 MiB/s, 10 s left');
    expect(
      formatHeartbeat({ ...half, bytes: 0, totalBytes: undefined, totalItems: undefined, remainingMs: undefined }),
    ).toBe('push: 120 paths, 10 s so far');
  });

  it('the end has the sum', () => {
    expect(formatDone(half)).toBe('push: 120 paths, 1.0 GiB in 10 s (102 MiB/s)');
    expect(formatDone({ ...half, bytes: 0, items: 1 })).toBe('push: 1 path in 10 s');
  });
});

test('no line is ever wider than the terminal, or shows more than all', () => {
  const amount = fc.option(fc.nat({ max: 2 ** 45 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.record({
        title: fc.string({ unit: 'grapheme-ascii', maxLength: 60 }),
        noun: fc.constant('path'),
        items: fc.nat(),
        totalItems: amount,
        bytes: fc.nat({ max: 2 ** 45 }),
        totalBytes: amount,
        elapsedMs: fc.nat(),
      }),
      fc.integer({ min: 1, max: 200 }),
      (snapshot, width) => {
        const line = formatProgressLine(snapshot, width);
        expect(line.length).toBeLessThanOrEqual(width);
        for (const [, percent] of line.matchAll(/ (\d+)%/g)) expect(Number(percent)).toBeLessThanOrEqual(100);
      },
    ),
  );
});

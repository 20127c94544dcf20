import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { Progress } from '../../../src/cli/ui/progress.ts';
import { Remaining } from '../../../src/cli/ui/remaining.ts';

interface Told {
  readonly atMs: number;
  readonly etaMs: number;
}

const TICK_MS = 100;

/** What is told at each tick of work whose speed, in shares a second, is `speed` of the time in seconds, and when it ends. */
function follow(speed: (seconds: number) => number): { readonly told: readonly Told[]; readonly endMs: number } {
  const remaining = new Remaining(0);
  const told: Told[] = [];
  let share = 0;
  let atMs = 0;
  while (share < 1) {
    share += (speed(atMs / 1000) * TICK_MS) / 1000;
    atMs += TICK_MS;
    remaining.note(atMs, Math.min(share, 1));
    const etaMs = remaining.estimate(atMs, Math.min(share, 1));
    if (etaMs !== undefined) told.push({ atMs, etaMs });
  }
  return { told, endMs: atMs };
}

/** The largest factor between what is told at one tick and at the next, if that tells something too; not of seconds, which are rounded. */
function largestJump(all: readonly Told[]): number {
  const told = all.filter(({ etaMs }) => etaMs > 20_000);
  return told.reduce((worst, { atMs, etaMs }, i) => {
    const next = told[i + 1];
    if (!next || next.atMs !== atMs + TICK_MS) return worst;
    return Math.max(worst, etaMs / next.etaMs, next.etaMs / etaMs);
  }, 1);
}

/** By what factor it is told wrong at most, after `fromMs`, and more than some seconds before the end. */
function worstError({ told, endMs }: ReturnType<typeof follow>, fromMs = 0): number {
  return told
    .filter(({ atMs }) => atMs >= fromMs && endMs - atMs > 10_000)
    .reduce((worst, { atMs, etaMs }) => Math.max(worst, etaMs / (endMs - atMs), (endMs - atMs) / etaMs), 1);
}

describe('what is told of the time that is left', () => {
  it('is right where work goes steadily, and told from the start on', () => {
    const run = follow(() => 1 / 300);
    expect(worstError(run)).toBeLessThan(1.1);
    expect(run.told[0]?.atMs).toBe(10_000);
    expect(run.told.length).toBeGreaterThan(2800);
  });

  it('is nothing yet while what was at hand is read, before the network is waited for', () => {
    // A tenth in five seconds, and then half an hour: over all of it, 4 minutes would be told, and later 33.
    const run = follow((seconds) => (seconds < 5 ? 0.1 / 5 : 0.9 / 1800));
    expect(run.told.length).toBeGreaterThan(1000);
    expect(worstError(run)).toBeLessThan(1.7);
    expect(largestJump(run.told)).toBeLessThan(1.3);
  });

  it('is not taken from a thousand small paths for the large one that follows', () => {
    const run = follow((seconds) => (seconds < 60 ? 0.01 / 60 : 0.99 / 120));
    expect(worstError(run, 80_000)).toBeLessThan(1.7);
    expect(largestJump(run.told)).toBeLessThan(1.3);
  });

  it('is nothing while nothing moves', () => {
    const run = follow((seconds) => (seconds > 100 && seconds < 160 ? 0 : 1 / 300));
    expect(run.told.filter(({ atMs }) => atMs > 125_000 && atMs < 160_000)).toEqual([]);
  });

  it('begins anew when there turns out to be more to do', () => {
    const remaining = new Remaining(0);
    for (let atMs = 500; atMs <= 20_000; atMs += 500) remaining.note(atMs, atMs / 40_000);
    expect(remaining.estimate(20_000, 0.5)).toBe(20_000);
    remaining.note(20_500, 0.1);
    expect(remaining.estimate(20_500, 0.1)).toBeUndefined();
  });
});

test('whatever the speed, it does not jump from one moment to the next', () => {
  const phases = fc.array(
    fc.record({ seconds: fc.integer({ min: 5, max: 200 }), speed: fc.integer({ min: 1, max: 60 }) }),
    {
      minLength: 1,
      maxLength: 6,
    },
  );
  fc.assert(
    fc.property(phases, (each) => {
      const ends = each.map((_, i) => each.slice(0, i + 1).reduce((sum, { seconds }) => sum + seconds, 0));
      const speedAt = (seconds: number): number => each[ends.findIndex((end) => seconds < end)]?.speed ?? 10;
      // A second is a thousandth, or less: what is done in an instant cannot be told of.
      const { told } = follow((seconds) => speedAt(seconds) / 60_000);
      expect(largestJump(told)).toBeLessThan(1.3);
    }),
    { numRuns: 30 },
  );
});

it('a task tells it by a clock, of bytes, and not where items differ too much', () => {
  let nowMs = 0;
  const drawn: string[] = [];
  const surface = {
    ...{ mode: 'live' as const, width: 100 },
    drawLive: (lines: readonly string[]) => void drawn.push(...lines),
    story: () => undefined,
  };
  const progress = new Progress(surface, () => nowMs);
  const push = progress.start('push', { totalItems: 10, totalBytes: 1000 });
  const build = progress.start('build', { totalItems: 1000, isSteady: false });
  for (let i = 0; i < 20; i++) {
    nowMs += 1000;
    push.advance({ bytes: 10 });
    build.reach({ items: i });
  }
  drawn.length = 0;
  progress.draw();
  progress.close();
  expect(drawn).toEqual([expect.stringMatching(/^push .* ETA 1 min 20 s$/), expect.not.stringContaining('ETA')]);
});

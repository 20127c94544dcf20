import { describe, expect, it } from 'vitest';
import { AdaptiveLimit } from '../../src/http/concurrency.ts';
import { ManualClock } from './manual-clock.ts';

const fine = () => false;
const refusal = () => true;

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve() };
}

describe('an adaptive limit', () => {
  it('lets no more than so many in', async () => {
    const limit = new AdaptiveLimit({ max: 3 });
    let active = 0;
    let peak = 0;
    const work = async (): Promise<void> => {
      active += 1;
      peak = Math.max(peak, active);
      await new Promise((resolve) => setImmediate(resolve));
      active -= 1;
    };
    await Promise.all(Array.from({ length: 20 }, () => limit.run(work, fine)));
    expect(peak).toBe(3);
  });

  it('halves once for a burst of refusals, and never below one', async () => {
    const clock = new ManualClock();
    const limit = new AdaptiveLimit({ max: 8, clock });
    const { opened, open } = gate();
    const burst = Array.from({ length: 8 }, () => limit.run(() => opened, refusal));
    clock.advance(10);
    open();
    await Promise.all(burst);
    expect(limit.limit).toBe(4);
    for (let count = 0; count < 5; count += 1) {
      clock.advance(10);
      await limit.run(async () => {}, refusal);
    }
    expect(limit.limit).toBe(1);
  });

  it('allows one more after each quiet stretch, up to where it started', async () => {
    const clock = new ManualClock();
    const limit = new AdaptiveLimit({ max: 4, quietMs: 1000, clock });
    await limit.run(async () => {}, refusal);
    expect(limit.limit).toBe(2);
    await limit.run(async () => {}, fine);
    expect(limit.limit).toBe(2);
    for (const expected of [3, 4, 4]) {
      clock.advance(1000);
      await limit.run(async () => {}, fine);
      expect(limit.limit).toBe(expected);
    }
  });

  it('lets go of those who stop waiting, and passes their turn on', async () => {
    const limit = new AdaptiveLimit({ max: 1 });
    const { opened, open } = gate();
    const first = limit.run(() => opened, fine);
    const abort = new AbortController();
    const second = limit.run(async () => 'second', fine, abort.signal);
    const third = limit.run(async () => 'third', fine);
    abort.abort(new Error('enough'));
    await expect(second).rejects.toThrow('enough');
    open();
    await first;
    expect(await third).toBe('third');
  });

  it('frees the place of work that fails', async () => {
    const limit = new AdaptiveLimit({ max: 1 });
    await expect(limit.run(() => Promise.reject(new Error('broken')), fine)).rejects.toThrow('broken');
    expect(await limit.run(async () => 'next', fine)).toBe('next');
  });
});

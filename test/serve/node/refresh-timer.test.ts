import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { IndexRefresher } from '../../../src/serve/index-refresher.ts';
import { RefreshTimer } from '../../../src/serve/node/refresh-timer.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function timed(refresh: (count: number) => Promise<void>) {
  const signals: AbortSignal[] = [];
  const refresher = new IndexRefresher({
    reader: {
      refresh: async ({ signal } = {}) => {
        if (signal) signals.push(signal);
        await refresh(signals.length);
        return { changed: false, addedSegments: 0, removedSegments: 0, bytes: 0 };
      },
      status: () => ({}) as never,
    },
    ...{ ttlMs: 60_000, onEvent: () => {}, onChange: () => {}, random: () => 0.5 },
  });
  return { refresher, timer: new RefreshTimer(refresher), signals };
}

describe('a refresh timer', () => {
  it('refreshes at once, then after each interval, also after a failure', async () => {
    const { timer, signals } = timed(async (count) => {
      if (count === 2) throw new Error('down');
    });
    await timer.start(1000);
    expect(signals).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(59_999);
    expect(signals).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(5000);
    expect(signals).toHaveLength(3);
    timer.stop();
  });

  it('counts from the last refresh, whoever asked for that', async () => {
    const { timer, refresher, signals } = timed(async () => {});
    await timer.start(1000);
    await vi.advanceTimersByTimeAsync(40_000);
    await refresher.refresh();
    await vi.advanceTimersByTimeAsync(59_999);
    expect(signals).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals).toHaveLength(3);
    timer.stop();
  });

  it('starts no later than it was told when the first refresh hangs', async () => {
    const { timer } = timed(() => new Promise(() => {}));
    let started = false;
    void timer.start(1000).then(() => {
      started = true;
    });
    await vi.advanceTimersByTimeAsync(999);
    expect(started).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(started).toBe(true);
    timer.stop();
  });

  it('ends what is under way when it is stopped, and refreshes no more', async () => {
    const { timer, signals } = timed(async (count) => {
      if (count === 2) await new Promise(() => {});
    });
    await timer.start(1000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals[1]?.aborted).toBe(false);
    timer.stop();
    await vi.advanceTimersByTimeAsync(600_000);
    expect([signals[1]?.aborted, signals.length]).toEqual([true, 2]);
  });
});

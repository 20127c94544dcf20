import { describe, expect, it } from 'vitest';
import type { RefreshResult } from '../../src/cache/read/cache-reader.ts';
import { NixcacheError } from '../../src/errors.ts';
import { IndexRefresher } from '../../src/serve/index-refresher.ts';
import type { ServeEvent } from '../../src/serve/serve-options.ts';

const SAME: RefreshResult = { changed: false, addedSegments: 0, removedSegments: 0, bytes: 0 };
const NEWS: RefreshResult = { changed: true, addedSegments: 2, removedSegments: 0, bytes: 300 };

/** A refresher whose reader gives these one after the other, the last again and again. */
function refresherOf(answers: readonly (RefreshResult | Error)[], { ttlMs = 60_000, status = {} } = {}) {
  const events: ServeEvent[] = [];
  const rest = [...answers];
  let changes = 0;
  let ends = 0;
  const refresher = new IndexRefresher({
    reader: {
      refresh: async () => {
        const answer = rest.length > 1 ? rest.shift() : rest[0];
        if (answer instanceof Error || answer === undefined) throw answer;
        return answer;
      },
      status: () => ({
        ...{ entries: 7, segments: 2, generation: 1, refreshedAt: undefined, lastError: undefined },
        ...status,
      }),
    },
    ttlMs,
    onEvent: (event) => events.push(event),
    onChange: () => changes++,
    random: () => 0.5,
  });
  refresher.onEnd = () => ends++;
  const refresh = () => refresher.refresh().catch((error: unknown) => error);
  return { refresher, refresh, events, counts: () => ({ changes, ends }) };
}

const down = new NixcacheError('ERR_NETWORK', 'the registry is down');

describe('an index refresher', () => {
  it('tells of what is new, and of nothing else', async () => {
    const { refresh, events, counts } = refresherOf([SAME, NEWS, SAME]);
    for (let i = 0; i < 3; i++) await refresh();
    expect(events).toEqual([{ type: 'refreshed', entries: 7, addedSegments: 2, bytes: 300 }]);
    expect(counts()).toEqual({ changes: 1, ends: 3 });
  });

  it('says that nothing was published yet, unless something was uploaded', async () => {
    for (const [uploaded, events] of [[0, [{ type: 'nothing-there' }]] as const, [1, []] as const]) {
      const made = refresherOf([SAME], { status: { entries: 0, segments: 0, uploaded } });
      await made.refresh();
      expect(made.events).toEqual(events);
    }
  });

  it('tells of a failure once, of another one, and of its end', async () => {
    const { refresh, events, counts } = refresherOf([down, down, new Error('another'), SAME, SAME]);
    for (let i = 0; i < 5; i++) await refresh();
    expect(events).toEqual([
      { type: 'refresh-failed', error: 'the registry is down' },
      { type: 'refresh-failed', error: 'another' },
      { type: 'refreshed', entries: 7, addedSegments: 0, bytes: 0 },
    ]);
    expect(counts()).toEqual({ changes: 0, ends: 5 });
  });

  it('waits 5 s after a failure, twice as long after each further one, and never longer than usually', async () => {
    const { refresher, refresh } = refresherOf([down, down, down, down, down, SAME]);
    const delays = [refresher.nextDelayMs()];
    for (let i = 0; i < 6; i++) {
      await refresh();
      delays.push(refresher.nextDelayMs());
    }
    expect(delays).toEqual([60_000, 5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  });

  it('does not spread by more than a tenth', () => {
    for (const [random, expected] of [
      [0, 900],
      [1, 1100],
    ] as const) {
      const refresher = new IndexRefresher({
        ...{ reader: {} as never, ttlMs: 1000, onEvent: () => {}, onChange: () => {} },
        random: () => random,
      });
      expect(refresher.nextDelayMs()).toBeCloseTo(expected);
    }
  });

  it('counts no failure when nobody waits for it any more', async () => {
    const events: ServeEvent[] = [];
    const refresher = new IndexRefresher({
      reader: {
        refresh: ({ signal } = {}) =>
          new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('stopped')))),
        status: () => ({}) as never,
      },
      ...{ ttlMs: 60_000, onEvent: (event: ServeEvent) => events.push(event), onChange: () => {}, random: () => 0.5 },
    });
    const ended = new Promise<void>((resolve) => {
      refresher.onEnd = resolve;
    });
    const gone = new AbortController();
    const refreshing = refresher.refresh({ signal: gone.signal });
    gone.abort(new Error('gone'));
    await expect(refreshing).rejects.toThrow('gone');
    await ended;
    expect({ events, delay: refresher.nextDelayMs() }).toEqual({ events: [], delay: 60_000 });
  });
});

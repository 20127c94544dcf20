import { expect, it } from 'vitest';
import { storeClock } from '../../../src/cli/session/store-clock.ts';
import type { ReadOnlyStore } from '../../../src/oci/content-store.ts';

const NOW = Date.UTC(2026, 5, 1);
const MINUTE_MS = 60_000;

function storeAt(skewMs: number | undefined) {
  const store = { name: 'r/c', clockSkewMs: undefined as number | undefined, readClock: async () => {} };
  store.readClock = async () => {
    store.clockSkewMs = skewMs;
  };
  return store as typeof store & ReadOnlyStore;
}

async function clockOf(store: ReadOnlyStore) {
  const warnings: string[] = [];
  const now = await storeClock(store, {
    onWarning: (message) => warnings.push(message),
    told: new WeakSet(),
    ours: () => NOW,
  });
  return { now, warnings };
}

it.each([
  ['unknown', undefined, 0],
  ['ours', 2000, 0],
  ['a minute off', -MINUTE_MS, 0],
  ['ten minutes ahead', 10 * MINUTE_MS, 10 * MINUTE_MS],
  ['days behind', -3 * 1440 * MINUTE_MS, -3 * 1440 * MINUTE_MS],
])('goes by the clock of a store that is %s', async (_what, skewMs, expected) => {
  const { now, warnings } = await clockOf(storeAt(skewMs));
  expect([now().getTime() - NOW, now().getTime() - NOW]).toEqual([expected, expected]);
  expect(warnings).toHaveLength(expected === 0 ? 0 : 1);
});

it('names both times, and takes what is heard later', async () => {
  const store = storeAt(undefined);
  const { now, warnings } = await clockOf(store);
  expect(now().getTime()).toBe(NOW);
  store.clockSkewMs = 1440 * MINUTE_MS;
  now();
  expect(warnings[0]).toMatch(/2026-06-01T00:00:00Z.*r\/c 2026-06-02T00:00:00Z/);
  store.clockSkewMs = undefined; // our clock was set, and nothing was heard since
  expect(now().getTime()).toBe(NOW);
});

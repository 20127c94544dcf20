import { expect, it, onTestFinished, vi } from 'vitest';
import { type SilencePolicy, SilenceWatch } from '../../src/upstream/silence-watch.ts';

const POLICY: SilencePolicy = { quietMs: 5000, firstMs: 9000, latencies: 3, suspectMs: 1000 };

function setUp() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const seen = { suspicions: 0 };
  const watch = new SilenceWatch({
    policy: POLICY,
    clock: { now: () => Date.now() },
    silent: (ms) => new Error(`silent for ${ms}`),
    onSuspicion: () => {
      seen.suspicions += 1;
    },
  });
  /** Is answered after `ms`, or never; says how it ended. */
  const ask = (ms: number, { signal, error }: { signal?: AbortSignal; error?: string } = {}): Promise<string> =>
    watch
      .run(
        (stop) =>
          new Promise<string>((resolve, reject) => {
            stop.addEventListener('abort', () => reject(stop.reason));
            if (Number.isFinite(ms))
              setTimeout(() => (error === undefined ? resolve('answered') : reject(new Error(error))), ms);
          }),
        { signal, isAnswer: (failure) => String(failure).includes('503') },
      )
      .catch((failure: Error) => failure.message);
  return { watch, seen, ask };
}
const NEVER = Number.POSITIVE_INFINITY;

it('gives up on all who wait once nobody was answered for a while', async () => {
  const { ask } = setUp();
  const first = ask(30);
  await vi.advanceTimersByTimeAsync(30);
  await first;
  const many = Promise.all(Array.from({ length: 10 }, () => ask(NEVER)));
  await vi.advanceTimersByTimeAsync(5000);
  expect(new Set(await many)).toEqual(new Set(['silent for 5000']));
});

it('waits longer for one that has not answered yet, and for one that is slow', async () => {
  const { ask } = setUp();
  const first = ask(8000);
  await vi.advanceTimersByTimeAsync(8000);
  expect(await first).toBe('answered');
  const second = ask(14_000);
  await vi.advanceTimersByTimeAsync(14_000);
  expect(await second).toBe('answered');
});

it('waits on for who is slow as long as others are answered, or refused', async () => {
  const { ask } = setUp();
  const slow = ask(14_000);
  for (let i = 0; i < 4; i++) {
    const other = ask(10, { error: 'the answer was 503' });
    await vi.advanceTimersByTimeAsync(3500);
    await other;
  }
  expect(await slow).toBe('answered');
});

it('does not take a connection that fails for an answer', async () => {
  const { ask } = setUp();
  const waiting = ask(NEVER);
  const refused = ask(8000, { error: 'no connection in time' });
  await vi.advanceTimersByTimeAsync(9000);
  expect([await refused, await waiting]).toEqual(['no connection in time', 'silent for 9000']);
});

it('suspects one that others are always quicker than, but not one that answers at times', async () => {
  const { ask, seen } = setUp();
  const leaveAfter = async (ms: number): Promise<void> => {
    const stop = new AbortController();
    const left = ask(NEVER, { signal: stop.signal });
    await vi.advanceTimersByTimeAsync(ms);
    stop.abort(new Error('left'));
    expect(await left).toBe('left');
  };
  await leaveAfter(900);
  const answered = ask(10);
  await vi.advanceTimersByTimeAsync(10);
  await answered;
  for (const suspicions of [0, 0, 0, 1]) {
    await leaveAfter(300);
    expect(seen.suspicions).toBe(suspicions);
  }
});

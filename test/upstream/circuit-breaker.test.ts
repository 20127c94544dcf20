import { describe, expect, it } from 'vitest';
import { type BreakerPolicy, CircuitBreaker } from '../../src/upstream/circuit-breaker.ts';
import { ManualClock } from '../http/manual-clock.ts';

const POLICY: BreakerPolicy = { failures: 3, spanMs: 0, openMs: 1000, maxOpenMs: 3000 };

function setUp(policy: BreakerPolicy = POLICY) {
  const clock = new ManualClock();
  const changes: string[] = [];
  const breaker = new CircuitBreaker({ name: 'far', policy, clock, onChange: (state) => changes.push(state) });
  let calls = 0;
  const fail = (signal?: AbortSignal) =>
    breaker
      .run(() => {
        calls += 1;
        return Promise.reject(new Error('down'));
      }, signal)
      .catch((error: Error) => error.message);
  const succeed = () =>
    breaker.run(() => {
      calls += 1;
      return Promise.resolve('up');
    });
  return { clock, changes, breaker, fail, succeed, calls: () => calls };
}

/** What was asked for a moment ago is under way. */
const begun = () => new Promise((resolve) => setImmediate(resolve));

describe('a circuit breaker', () => {
  it('opens after failures in a row, and then asks no more', async () => {
    const { breaker, fail, succeed, calls, changes } = setUp();
    for (let i = 0; i < 3; i++) await fail();
    expect(breaker.state).toBe('open');
    await expect(succeed()).rejects.toMatchObject({ code: 'ERR_UPSTREAM', message: expect.stringContaining('down') });
    expect(calls()).toBe(3);
    expect(changes).toEqual(['open']);
  });

  it('starts counting anew after a success', async () => {
    const { breaker, fail, succeed } = setUp();
    await fail();
    await fail();
    await succeed();
    await fail();
    await fail();
    expect(breaker.state).toBe('closed');
  });

  it('lets one probe through after a while, and closes when that succeeds', async () => {
    const { breaker, clock, fail, succeed, changes } = setUp();
    for (let i = 0; i < 3; i++) await fail();
    clock.advance(999);
    expect(breaker.state).toBe('open');
    clock.advance(1);
    expect(breaker.state).toBe('half-open');
    let finish = (): void => {};
    const probe = breaker.run(() => new Promise<void>((resolve) => (finish = resolve)));
    await expect(succeed()).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
    finish();
    await probe;
    expect(breaker.state).toBe('closed');
    expect(breaker.lastError).toBeUndefined();
    expect(changes).toEqual(['open', 'closed']);
  });

  it('stays open twice as long after each probe that fails, up to a limit', async () => {
    const { breaker, clock, fail } = setUp();
    for (let i = 0; i < 3; i++) await fail();
    for (const openMs of [1000, 2000, 3000, 3000]) {
      clock.advance(openMs - 1);
      expect(breaker.state).toBe('open');
      clock.advance(1);
      expect(await fail()).toBe('down');
    }
  });

  it('takes what is no outage for a sign of life', async () => {
    const clock = new ManualClock();
    const isOutage = (error: unknown): boolean => String(error).includes('down');
    const breaker = new CircuitBreaker({ name: 'far', policy: POLICY, clock, isOutage });
    const fail = (what: string) => breaker.run(() => Promise.reject(new Error(what))).catch(() => {});
    for (const what of ['down', 'down', 'garbage', 'down', 'down', 'garbage', 'garbage', 'garbage']) await fail(what);
    expect(breaker.state).toBe('closed');
  });

  it('takes failures with a long silence between them for several accidents', async () => {
    const { breaker, clock, fail } = setUp({ ...POLICY, spanMs: 500 });
    for (let i = 0; i < 10; i++) {
      await fail();
      clock.advance(60_000);
    }
    expect(breaker.state).toBe('closed');
  });

  it('has who comes shortly before the probe wait and do it, and who comes during it wait for how it ends', async () => {
    const { breaker, clock, fail, succeed, calls } = setUp({ ...POLICY, waitMs: 1000 });
    for (let i = 0; i < 3; i++) await fail();
    clock.advance(400);
    expect(await succeed()).toBe('up');
    expect(clock.sleeps).toEqual([600]);
    for (let i = 0; i < 3; i++) await fail();
    clock.advance(1000);
    let finish = (): void => {};
    const probe = breaker.run(() => new Promise<void>((resolve) => (finish = resolve)));
    clock.sleep = () => new Promise(() => {});
    const waiting = succeed();
    await begun();
    finish();
    await probe;
    expect(await waiting).toBe('up');
    expect(calls()).toBe(8);
  });

  it('does not take a burst for an outage', async () => {
    const { breaker, clock, fail } = setUp({ ...POLICY, spanMs: 500 });
    for (let i = 0; i < 10; i++) await fail();
    expect(breaker.state).toBe('closed');
    clock.advance(500);
    await fail();
    expect(breaker.state).toBe('open');
  });

  it('learns nothing from what the caller gave up, not even from a probe', async () => {
    const { breaker, clock, fail, succeed } = setUp();
    for (let i = 0; i < 10; i++) await fail(AbortSignal.abort());
    expect(breaker.state).toBe('closed');
    for (let i = 0; i < 3; i++) await fail();
    clock.advance(1000);
    await fail(AbortSignal.abort());
    expect(breaker.state).toBe('half-open');
    await succeed();
    expect(breaker.state).toBe('closed');
  });

  it('is not kept open longer by requests that began before it opened', async () => {
    const { breaker, clock, fail } = setUp();
    const late = Promise.withResolvers<never>();
    const straggler = breaker.run(() => late.promise).catch(() => {});
    await begun();
    clock.advance(1);
    for (let i = 0; i < 3; i++) await fail();
    clock.advance(1000);
    late.reject(new Error('down'));
    await straggler;
    expect(breaker.state).toBe('half-open');
  });
});

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
    for (let i = 0; i < 9; i++) await fail();
    clock.advance(1000);
    expect(breaker.state).toBe('half-open');
  });
});

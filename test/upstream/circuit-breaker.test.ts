import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type BreakerPolicy, CircuitBreaker, type Verdict } from '../../src/upstream/circuit-breaker.ts';
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
    const verdict = (error: unknown) => (String(error).includes('down') ? 'outage' : 'answer');
    const breaker = new CircuitBreaker({ name: 'far', policy: POLICY, clock, verdict });
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

  it('looks into a failure that no other request follows, and opens when that fails as well', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const clock = new ManualClock();
    const policy = { failures: 2, spanMs: 500, openMs: 100, maxOpenMs: 100 };
    const probe = vi.fn(() => Promise.reject(new Error('still down')));
    const breaker = new CircuitBreaker({ name: 'far', policy, clock, probe });
    const pass = async (ms: number): Promise<void> => {
      clock.advance(ms);
      await vi.advanceTimersByTimeAsync(ms);
    };
    expect(breaker.isAnswering).toBeUndefined();
    await breaker.run(() => Promise.reject(new Error('down'))).catch(() => undefined);
    expect(breaker).toMatchObject({ state: 'closed', isAnswering: false });
    expect(probe).not.toHaveBeenCalled();
    await pass(550);
    expect(probe).toHaveBeenCalledOnce();
    expect(breaker).toMatchObject({ state: 'open', isAnswering: false, lastError: 'still down' });
    probe.mockResolvedValue(undefined as never);
    await pass(100);
    expect(breaker).toMatchObject({ state: 'closed', isAnswering: true, lastError: undefined });
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

describe('a circuit breaker that looks for itself', () => {
  /** Timers and clock are vitest's; `answers` says how the next probe ends. */
  function setUpLooking(policy: Partial<BreakerPolicy> = {}) {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const far = { probes: 0, answers: (): Promise<unknown> => Promise.reject(new Error('down')) };
    const breaker = new CircuitBreaker({
      name: 'far',
      policy: { ...POLICY, waitMs: 1000, ...policy },
      clock: { now: () => Date.now(), sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) },
      verdict: (error) => (String(error).includes('silent') ? 'silence' : 'outage') satisfies Verdict,
      probe: () => {
        far.probes += 1;
        return far.answers();
      },
    });
    onTestFinished(() => breaker.close());
    const fail = (what: string, afterMs = 0) =>
      breaker
        .run(() => new Promise((_, reject) => setTimeout(() => reject(new Error(what)), afterMs)))
        .catch((error: Error) => error.message);
    return { breaker, far, fail };
  }
  const down = (afterMs: number) => () =>
    new Promise((_, reject) => setTimeout(() => reject(new Error('silent')), afterMs));

  it('opens after one silence, and takes what is silent at once for one', async () => {
    const { breaker, fail, far } = setUpLooking();
    const many = Promise.all(Array.from({ length: 20 }, () => fail('silent', 5000)));
    await vi.advanceTimersByTimeAsync(4999);
    expect(breaker.state).toBe('closed');
    await vi.advanceTimersByTimeAsync(1);
    await many;
    expect(breaker.state).toBe('open');
    expect(far.probes).toBe(0);
    await vi.advanceTimersByTimeAsync(1000);
    expect(far.probes).toBe(1);
  });

  it('does not open for one silent request while others are answered', async () => {
    const { breaker, fail } = setUpLooking();
    const silent = fail('silent', 5000);
    await vi.advanceTimersByTimeAsync(3000);
    await breaker.run(() => Promise.resolve());
    await vi.advanceTimersByTimeAsync(2000);
    await silent;
    expect(breaker.state).toBe('closed');
  });

  it('never has anybody wait for a silent far side, not even when it is tried again', async () => {
    const { breaker, fail, far } = setUpLooking();
    const first = fail('silent', 5000);
    await vi.advanceTimersByTimeAsync(5000);
    await first;
    far.answers = down(15_000);
    for (let second = 0; second < 120; second++) {
      let said: unknown;
      void breaker.run(() => Promise.resolve('asked')).catch((error: Error) => (said = error.message));
      await vi.advanceTimersByTimeAsync(0);
      expect(said).toContain('is not asked for a while');
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect(far.probes).toBeGreaterThan(3);
    far.answers = () => Promise.resolve();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await breaker.run(() => Promise.resolve('asked'))).toBe('asked');
  });

  it('has those wait who come while an outage is young, and nobody once it is old', async () => {
    const { breaker, fail, far } = setUpLooking();
    for (let i = 0; i < 3; i++) {
      const failed = fail('down');
      await vi.advanceTimersByTimeAsync(1);
      await failed;
    }
    const early = breaker.run(() => Promise.resolve('asked'));
    far.answers = () => Promise.resolve();
    await vi.advanceTimersByTimeAsync(1000);
    expect(await early).toBe('asked');
    far.answers = () => Promise.reject(new Error('down'));
    for (let i = 0; i < 3; i++) {
      const failed = fail('down');
      await vi.advanceTimersByTimeAsync(1);
      await failed;
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(far.probes).toBe(2);
    let said: unknown;
    void breaker.run(() => Promise.resolve()).catch((error: Error) => (said = error.message));
    await vi.advanceTimersByTimeAsync(0);
    expect(said).toContain('is not asked for a while');
  });

  it('looks into a suspicion without having anybody wait, and no more once it is closed down', async () => {
    const { breaker, far } = setUpLooking();
    far.answers = down(5000);
    for (let i = 0; i < 3; i++) breaker.suspect();
    await vi.advanceTimersByTimeAsync(1);
    expect(await breaker.run(() => Promise.resolve('asked'))).toBe('asked');
    await vi.advanceTimersByTimeAsync(5000);
    // That somebody was answered meanwhile speaks against it.
    expect(breaker.state).toBe('closed');
    await vi.advanceTimersByTimeAsync(1);
    breaker.suspect();
    await vi.advanceTimersByTimeAsync(5000);
    expect([breaker.state, far.probes]).toEqual(['open', 2]);
    breaker.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(far.probes).toBe(2);
  });
});

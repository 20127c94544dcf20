import { describe, expect, it } from 'vitest';
import { HttpError } from '../../src/http/http-error.ts';
import { NetworkError } from '../../src/http/network-error.ts';
import { formatRetry, Retrier, type RetryEvent } from '../../src/http/retry.ts';
import { ManualClock } from './manual-clock.ts';

const url = new URL('https://ghcr.io/v2/o/r/blobs/uploads/');
const refused = (retryAfterMs?: number): HttpError =>
  new HttpError('ERR_REGISTRY', 'too many', {
    method: 'POST',
    url,
    status: 429,
    bodyExcerpt: '',
    retryAfterMs,
    retryable: true,
  });
const broken = (): NetworkError => new NetworkError('GET x: the connection broke', { host: 'x', retryable: true });

const policy = { attempts: 5, baseDelayMs: 500, maxDelayMs: 3000, deadlineMs: 60_000 };

/** Fails with each of `errors` in turn, then succeeds. */
function failing(errors: readonly unknown[]): () => Promise<string> {
  const left = [...errors];
  return async () => {
    if (left.length > 0) throw left.shift();
    return 'done';
  };
}

describe('retrying', () => {
  it('waits twice as long each time, up to the most', async () => {
    const clock = new ManualClock({ random: () => 0.999_999 });
    await new Retrier({ policy, clock }).run(failing([broken(), broken(), broken(), broken()]));
    expect(clock.sleeps.map(Math.round)).toEqual([500, 1000, 2000, 3000]);
  });

  it('jitters fully: from nothing on', async () => {
    const clock = new ManualClock({ random: () => 0 });
    await new Retrier({ policy, clock }).run(failing([broken(), broken()]));
    expect(clock.sleeps).toEqual([0, 0]);
  });

  it('lets what never answered have less time for an answer than what did', async () => {
    const retrier = new Retrier({ policy: { ...policy, firstAnswerMs: 15_000 } });
    expect([retrier.answerTimeoutMs(), retrier.answerTimeoutMs(3000)]).toEqual([15_000, 3000]);
    expect(retrier.answerTimeoutMs(60_000)).toBe(15_000);
    await retrier.run(async () => 'answer');
    expect([retrier.answerTimeoutMs(), retrier.answerTimeoutMs(60_000)]).toEqual([undefined, 60_000]);
    expect(new Retrier({ policy }).answerTimeoutMs()).toBeUndefined();
  });

  it('gives up soon on what never answered, and waits for what did', async () => {
    const clock = new ManualClock({ random: () => 0.999_999 });
    const retrier = new Retrier({ policy: { ...policy, firstContactMs: 3000 }, clock });
    const all = Array.from({ length: 9 }, broken);
    await expect(retrier.run(failing(all))).rejects.toThrow('the connection broke');
    expect(clock.sleeps.map(Math.round)).toEqual([500, 1000, 1500]);
    // Any answer counts, a refusal too.
    const refusedForGood = new HttpError('ERR_REGISTRY', 'no', {
      ...{ method: 'GET', url, status: 403, bodyExcerpt: '', retryable: false },
    });
    await expect(retrier.run(failing([refusedForGood]))).rejects.toBe(refusedForGood);
    clock.sleeps.length = 0;
    await retrier.run(failing(all.slice(0, 4)));
    expect(clock.sleeps.map(Math.round)).toEqual([500, 1000, 2000, 3000]);
  });

  it('waits no second time for what was away for a whole deadline, until it answers', async () => {
    const clock = new ManualClock({ random: () => 0.999_999 });
    const retrier = new Retrier({ policy: { ...policy, attempts: 99, deadlineMs: 6000, afterOutageMs: 500 }, clock });
    const waited = async (failures: number): Promise<number> => {
      const startMs = clock.now();
      await retrier.run(failing(Array.from({ length: failures }, broken))).catch(() => undefined);
      return Math.round(clock.now() - startMs);
    };
    await retrier.run(failing([]));
    expect([await waited(99), await waited(99), await waited(99)]).toEqual([6000, 500, 500]);
    await retrier.run(failing([broken()]));
    expect(await waited(99)).toBe(6000);
  });

  it('waits again for what only refused for as long: it is there', async () => {
    const clock = new ManualClock({ random: () => 0.999_999 });
    const retrier = new Retrier({ policy: { ...policy, attempts: 99, deadlineMs: 6000, afterOutageMs: 500 }, clock });
    const waits: number[] = [];
    // The last failure of each is a refusal, and the first of the next is none.
    for (const last of [refused, broken]) {
      const startMs = clock.now();
      const fail = (): Promise<never> => Promise.reject(clock.now() - startMs < 5999 ? broken() : last());
      await retrier.run(fail).catch(() => undefined);
      waits.push(Math.round(clock.now() - startMs));
    }
    expect(waits).toEqual([6000, 6000]);
  });

  it('waits once for what takes its time not to answer', async () => {
    const clock = new ManualClock();
    const retrier = new Retrier({ policy: { ...policy, firstContactMs: 3000 }, clock });
    let attempts = 0;
    const silent = async (): Promise<never> => {
      attempts += 1;
      await clock.sleep(60_000);
      throw broken();
    };
    await expect(retrier.run(silent)).rejects.toThrow('the connection broke');
    expect(attempts).toBe(1);
  });

  describe('what falls silent after it has answered', () => {
    const silence = (): NetworkError =>
      new NetworkError('GET x: no answer within 60 s', { host: 'x', retryable: true, silent: true });
    const open = async (): Promise<{
      clock: ManualClock;
      retrier: Retrier;
      attemptOf(errors: Error[]): Promise<string>;
    }> => {
      const clock = new ManualClock();
      const patient = { ...policy, attempts: 8, deadlineMs: 15 * 60_000, firstContactMs: 3000, maxSilences: 2 };
      const retrier = new Retrier({ policy: patient, clock });
      await retrier.run(failing([]));
      const attemptOf = (errors: Error[]): Promise<string> => {
        const next = failing(errors);
        return retrier.run(async () => {
          clock.advance(60_000);
          return next();
        });
      };
      return { clock, retrier, attemptOf };
    };

    it('is given up after two deadlines in a row, with a word about it', async () => {
      const { clock, attemptOf } = await open();
      const startMs = clock.now();
      await expect(attemptOf(Array.from({ length: 9 }, silence))).rejects.toThrow(
        /no answer within 60 s.*answered nothing 2 times in a row/,
      );
      expect(clock.now() - startMs).toBeLessThan(125_000);
    });

    it('is waited for through one of them, and where it fails otherwise in between', async () => {
      const { attemptOf } = await open();
      await expect(attemptOf([silence(), broken(), silence(), refused(), silence()])).resolves.toBe('done');
    });

    it('is waited for while it answers others', async () => {
      const { clock, retrier } = await open();
      const next = failing([silence(), silence(), silence()]);
      const slow = async (): Promise<string> => {
        clock.advance(60_000);
        await retrier.run(failing([]));
        return next();
      };
      await expect(retrier.run(slow)).resolves.toBe('done');
    });
  });

  it('never comes back sooner than asked', async () => {
    const clock = new ManualClock({ random: () => 0 });
    await new Retrier({ policy, clock }).run(failing([refused(12_000)]));
    expect(clock.sleeps).toEqual([12_000]);
  });

  it('gives up at once when the server asks for more time than there is', async () => {
    const clock = new ManualClock();
    const run = new Retrier({ policy, clock }).run(failing([refused(3_600_000)]));
    await expect(run).rejects.toMatchObject({ status: 429, attempts: 1 });
    expect(clock.sleeps).toEqual([]);
  });

  it('gives up after so many attempts, and says how many', async () => {
    const clock = new ManualClock();
    const run = new Retrier({ policy, clock }).run(failing(Array.from({ length: 9 }, () => refused())));
    await expect(run).rejects.toMatchObject({ attempts: 5 });
    expect(clock.sleeps).toHaveLength(4);
  });

  it('starts nothing after the deadline', async () => {
    const clock = new ManualClock({ random: () => 0 });
    const run = new Retrier({ policy, clock }).run(failing([refused(29_000), refused(29_000), refused(29_000)]));
    await expect(run).rejects.toMatchObject({ attempts: 3 });
  });

  it.each([new Error('a bug'), new NetworkError('no such host', { host: 'x', retryable: false })])(
    'throws at once what will not get better: %s',
    async (error) => {
      const clock = new ManualClock();
      await expect(new Retrier({ policy, clock }).run(failing([error]))).rejects.toBe(error);
      expect(clock.sleeps).toEqual([]);
    },
  );

  it('stops waiting when aborted', async () => {
    const abort = new AbortController();
    const run = new Retrier({
      policy: { ...policy, baseDelayMs: 3_600_000, maxDelayMs: 3_600_000, deadlineMs: 1e9 },
    }).run(failing([broken()]), { signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), 5);
    await expect(run).rejects.toThrow('enough');
  });

  it('tells of each retry, so that a person can be told', async () => {
    const events: RetryEvent[] = [];
    const retrier = new Retrier({ policy, clock: new ManualClock(), onRetry: (event) => events.push(event) });
    await retrier.run(failing([refused(12_000), broken()]));
    expect(events.map(formatRetry)).toEqual([
      'ghcr.io asks to wait 12 s',
      'GET x: the connection broke; trying again in 500 ms (2 of 5)',
    ]);
  });
});

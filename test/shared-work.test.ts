import { describe, expect, it } from 'vitest';
import { SharedWork } from '../src/shared-work.ts';

/** Work whose runs end when the test says so. */
function manual() {
  const runs: { readonly signal: AbortSignal; end(result: string): void; fail(error: Error): void }[] = [];
  const work = new SharedWork((signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    runs.push({ signal, end: resolve, fail: reject });
    return promise;
  });
  return { work, runs };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('shared work', () => {
  it('is done once for all who come while it is under way, and anew for the next', async () => {
    const { work, runs } = manual();
    const both = Promise.all([work.join(), work.join()]);
    await turn();
    expect(runs).toHaveLength(1);
    runs[0]?.end('once');
    expect(await both).toEqual(['once', 'once']);
    const next = work.join();
    await turn();
    runs[1]?.end('twice');
    expect(await next).toBe('twice');
  });

  it('fails for all who wait for it, and not for the next', async () => {
    const { work, runs } = manual();
    const both = Promise.allSettled([work.join(), work.join({ signal: new AbortController().signal })]);
    await turn();
    runs[0]?.fail(new Error('no'));
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    const next = work.join();
    await turn();
    runs[1]?.end('yes');
    expect(await next).toBe('yes');
  });

  it('goes on while anyone waits, whoever began it', async () => {
    const { work, runs } = manual();
    const first = new AbortController();
    const began = work.join({ signal: first.signal });
    const joined = work.join({ signal: new AbortController().signal });
    await turn();
    first.abort(new Error('left'));
    await expect(began).rejects.toThrow('left');
    expect(runs[0]?.signal.aborted).toBe(false);
    runs[0]?.end('done');
    expect(await joined).toBe('done');
  });

  it('is aborted when the last one leaves, and begins anew only once that is over', async () => {
    const { work, runs } = manual();
    const last = new AbortController();
    const left = work.join({ signal: last.signal });
    await turn();
    last.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect(runs[0]?.signal.reason).toEqual(new Error('left'));
    const next = work.join();
    await turn();
    expect(runs).toHaveLength(1);
    runs[0]?.fail(new Error('stopped'));
    await turn();
    runs[1]?.end('anew');
    expect(await next).toBe('anew');
  });

  it('is done once for ever where its result is kept, and again only after a failure', async () => {
    let runs = 0;
    const work = new SharedWork(
      async () => {
        runs++;
        if (runs === 1) throw new Error('no');
        return runs;
      },
      { keeps: true },
    );
    const { signal } = new AbortController();
    await expect(work.join({ signal })).rejects.toThrow('no');
    expect([await work.join({ signal }), await work.join({ signal }), await work.join()]).toEqual([2, 2, 2]);
  });

  it('is not begun for one who left before', async () => {
    const { work, runs } = manual();
    await expect(work.join({ signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
    await turn();
    expect(runs).toHaveLength(0);
  });
});

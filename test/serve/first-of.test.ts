import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { firstOf } from '../../src/serve/first-of.ts';

/** Nothing that takes as long comes while a test lasts. */
const FOR_EVER_MS = 1e9;

interface Candidate {
  readonly name: string;
  /** Whether it answers only when it is given up. */
  readonly hangs?: boolean;
  readonly afterMs?: number;
  readonly has?: boolean;
  readonly fails?: boolean;
}

async function ask(candidates: readonly Candidate[], { headStartMs = 40, signal = new AbortController().signal } = {}) {
  const asked: string[] = [];
  const aborted: string[] = [];
  const failed: string[] = [];
  const found = await firstOf(
    candidates,
    async ({ name, hangs = false, afterMs = 0, has = true, fails = false }, signal) => {
      asked.push(name);
      signal.addEventListener('abort', () => aborted.push(name));
      await delay(hangs ? FOR_EVER_MS : afterMs, undefined, { signal });
      if (fails) throw new Error(name);
      return has ? name : undefined;
    },
    { headStartMs, signal, onFailure: ({ name }) => failed.push(name) },
  );
  return { found, asked, aborted, failed };
}

describe('firstOf', () => {
  it('asks the second only when the first has nothing', async () => {
    expect(await ask([{ name: 'a' }, { name: 'b' }])).toMatchObject({ found: 'a', asked: ['a'] });
    expect(await ask([{ name: 'a', has: false }, { name: 'b' }])).toMatchObject({ found: 'b', asked: ['a', 'b'] });
  });

  it('asks the next at once when one fails', async () => {
    const result = await ask([{ name: 'a', fails: true }, { name: 'b' }], { headStartMs: FOR_EVER_MS });
    expect(result).toMatchObject({ found: 'b', failed: ['a'] });
  });

  it('prefers the earlier within its head start', async () => {
    const result = await ask([{ name: 'a' }, { name: 'b' }], { headStartMs: FOR_EVER_MS });
    expect(result).toMatchObject({ found: 'a', asked: ['a'] });
  });

  it('takes the later when the earlier is slow, and gives the earlier up', async () => {
    const result = await ask([{ name: 'a', hangs: true }, { name: 'b' }]);
    expect(result).toMatchObject({ found: 'b', asked: ['a', 'b'], aborted: ['a'], failed: [] });
  });

  it('waits for the slow one when it is the only hope', async () => {
    const result = await ask([
      { name: 'a', afterMs: 150 },
      { name: 'b', has: false },
    ]);
    expect(result).toMatchObject({ found: 'a' });
  });

  it('finds nothing when none has it, when all fail, when there is none, and when time is up', async () => {
    expect(
      (
        await ask([
          { name: 'a', has: false },
          { name: 'b', has: false },
        ])
      ).found,
    ).toBeUndefined();
    expect(
      (
        await ask([
          { name: 'a', fails: true },
          { name: 'b', fails: true },
        ])
      ).failed,
    ).toEqual(['a', 'b']);
    expect((await ask([])).found).toBeUndefined();
    const late = await ask([{ name: 'a', hangs: true }], { signal: AbortSignal.timeout(50) });
    expect(late).toMatchObject({ found: undefined, aborted: ['a'] });
  });
});

import { expect, it, onTestFinished, vi } from 'vitest';
import { Trust } from '../../src/serve/trust.ts';
import { UpstreamNarInfos, type UpstreamNarInfosOptions } from '../../src/serve/upstream-nar-infos.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { hashPartFor } from '../support/cache-builder.ts';
import { entryOf } from '../support/gc-inputs.ts';

/** The narinfos of one upstream, which answers as `fetchNarInfo` does. */
function over(fetchNarInfo: Upstream['fetchNarInfo']): UpstreamNarInfos {
  const upstream = { name: 'far', fetchNarInfo } as Upstream;
  const one = {
    upstreams: [upstream],
    storeDirs: { usable: [upstream], refusalFor: async () => undefined, refusalOf: () => undefined },
    upstreamNars: { adopt: async () => ({ text: 'StorePath: …\n' }) },
    ...{ trust: new Trust([]), onEvent: () => undefined },
    ...{ headStartMs: 1e9, timeoutMs: 1e9, negativeTtlMs: 1000 },
  };
  return new UpstreamNarInfos(one as unknown as UpstreamNarInfosOptions);
}

it('a question that its client gave up says nothing about the path: who asks next has it', async () => {
  const asked = Promise.withResolvers<void>();
  let hangs = true;
  const narInfos = over(async (_, { signal } = {}) => {
    if (!hangs) return entryOf({ name: 'a' }).narInfo;
    asked.resolve();
    return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  });
  const leaving = new AbortController();
  const first = narInfos.find(hashPartFor('a'), { signal: leaving.signal });
  await asked.promise;
  leaving.abort();
  expect(await first).toBeUndefined();
  hangs = false;
  expect(await narInfos.find(hashPartFor('a'), {})).toMatchObject({ status: 200 });
});

it('what every upstream said is absent is not asked for again, for a while', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  let nowMs = 1;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs); // the one that misses are kept by
  onTestFinished(() => {
    clock.mockRestore();
    vi.useRealTimers();
  });
  const pass = (ms: number): void => {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  };
  let questions = 0;
  const narInfos = over(async () => {
    questions += 1;
    return undefined;
  });
  for (let i = 0; i < 3; i++) expect(await narInfos.find(hashPartFor('a'), {})).toBeUndefined();
  pass(900);
  expect(await narInfos.find(hashPartFor('a'), {})).toBeUndefined();
  expect(questions).toBe(1);
  pass(200);
  expect(await narInfos.find(hashPartFor('a'), {})).toBeUndefined();
  expect(questions).toBe(2);
});

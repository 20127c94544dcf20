import { expect, it } from 'vitest';
import { measuresOf } from '../../src/serve/measures.ts';
import { newCounters } from '../../src/serve/serve-options.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';

const now = () => new Date('2026-01-01T00:01:00Z');
const base = {
  reader: new MemoryCacheReader(),
  upstreams: [],
  counters: newCounters(),
  gate: undefined,
  version: '1',
  now,
};
const read = (options: Partial<Parameters<typeof measuresOf>[0]>, name: string) =>
  measuresOf({ ...base, ...options })
    .find((each) => each.name === name)
    ?.read();

it('what waits to be committed is measured where there are uploads', () => {
  const status = {
    ...{ pending: 3, pendingBytes: 70, oldest: new Date('2026-01-01T00:00:00Z'), unclaimedNars: 1 },
    ...{ lastError: undefined, lastCommitAt: undefined, troubles: [{ path: 'x', reason: 'y' }] },
  };
  const names = [
    'uploads_pending',
    'uploads_pending_bytes',
    'uploads_oldest_seconds',
    'uploads_unclaimed_nars',
    'uploads_failed',
  ];
  expect(names.map((name) => read({ uploads: { status: () => status } }, name))).toEqual([3, 70, 60, 1, 1]);
  expect(names.map((name) => read({}, name))).toEqual(names.map(() => undefined));
});

it('names are those that Prometheus wants: of small letters, and counters end in _total', () => {
  for (const { name, type, help } of measuresOf(base)) {
    expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
    expect(name.endsWith('_total')).toBe(type === 'counter');
    expect(help).toMatch(/\.$/);
  }
});

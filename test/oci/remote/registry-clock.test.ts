import { expect, it, vi } from 'vitest';
import { RegistryClock } from '../../../src/oci/remote/registry-clock.ts';
import { openRepository } from './open-repository.ts';

const DAY_MS = 86_400_000;
const dateOf = (ms: number): string => new Date(ms).toUTCString();

it('is told by any answer of a registry', async () => {
  const { repository } = await openRepository();
  expect(repository.clockSkewMs).toBeUndefined();
  const { now } = Date;
  vi.spyOn(Date, 'now').mockImplementation(() => now() - 9 * DAY_MS);
  await repository.listTags();
  expect(Math.abs((repository.clockSkewMs ?? 0) - 9 * DAY_MS)).toBeLessThan(30_000);
  vi.restoreAllMocks();
  expect(repository.clockSkewMs).toBeUndefined(); // ours was set meanwhile
});

it('is not told by what a cache has kept, nor by no date', () => {
  const clock = new RegistryClock();
  clock.heard({});
  clock.heard({ date: 'yesterday' });
  expect(clock.skewMs).toBeUndefined();
  clock.heard({ date: dateOf(Date.now() - DAY_MS), age: '86400' });
  expect(Math.abs(clock.skewMs ?? DAY_MS)).toBeLessThan(5000);
  clock.heard({ date: dateOf(Date.now() - DAY_MS) });
  expect(Math.abs(clock.skewMs ?? DAY_MS)).toBeLessThan(5000);
  clock.heard({ date: dateOf(Date.now() + DAY_MS) });
  expect(clock.skewMs).toBeGreaterThan(DAY_MS / 2);
});

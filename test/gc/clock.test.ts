import { describe, expect, it } from 'vitest';
import { segmentTag } from '../../src/cache-index/tags.ts';
import { assertClock } from '../../src/gc/clock.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

const DAY_MS = 86_400_000;
const published = new Date('2026-06-01T00:00:00Z');
const tags = new Set(['v1', 'cache-index', segmentTag(digestOf(Buffer.from('x')), published)]);
const at = (days: number): Date => new Date(published.getTime() + days * DAY_MS);

describe('a gc', () => {
  it.each([-29, -4, 0, 1, 9000])('goes on when its clock is %i days after the newest publish', (days) => {
    expect(() => assertClock(at(days), { tags }, 'it')).not.toThrow();
  });

  it.each([-9000, -400, -31])('refuses when its clock is %i days after the newest publish', (days) => {
    expect(() => assertClock(at(days), { tags }, 'it')).toThrow(
      expect.objectContaining({ code: 'ERR_IO', message: expect.stringContaining('set') }),
    );
  });

  it.each([
    [
      'oci:/srv/cache',
      /delete the manifest of that tag \(oras manifest delete --oci-layout \/srv\/cache:seg-\S+\), and publish the same/,
    ],
    ['registry.example/a', /\(oras manifest delete registry\.example\/a:seg-\S+\)/],
    ['ghcr.io/o/r/nix-cache', /\(the version of the package with that tag, on GitHub\)/],
  ])('says what helps where it was the clock of a publisher to %s', (name, advice) => {
    expect(() => assertClock(at(-31), { tags }, name)).toThrow(advice);
    expect(() => assertClock(at(-31), { tags }, name)).toThrow(/or leave it: gc runs again from 2026-05-02T00:00/);
  });

  it.each([
    ['last', [0, 40]],
    ['first', [40, 0]],
  ])('goes by the newest of several publishes, listed %s', (_, days) => {
    const several = new Set(days.map((each) => segmentTag(digestOf(Buffer.from(`${each}`)), at(each))));
    expect(() => assertClock(at(9), { tags: several }, 'it')).toThrow(at(40).toISOString());
    expect(() => assertClock(at(10), { tags: several }, 'it')).not.toThrow();
  });

  it('refuses before anything is written', async () => {
    const store = new MemoryStore();
    await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
    const before = [...store.tags];
    await expect(gcAt(store, day(-9000))).rejects.toMatchObject({ code: 'ERR_IO' });
    expect([...store.tags]).toEqual(before);
  });
});

/** Bad lines and overloaded servers: nothing damaged is ever accepted, deadlines hold, and nobody tries for ever. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { isNixcacheError } from '../../../src/errors.ts';
import type { PathInfo } from '../../../src/nix/path-info.ts';
import { baseNameOf, hashPartOf } from '../../../src/nix/store-path.ts';
import { noise } from '../../support/bytes.ts';
import { badLuck, type FaultAct, PROFILES } from '../../support/fake-registry-faults.ts';
import { day, gcAt } from '../../support/gc-runs.ts';
import { LocalPaths } from '../../support/local-paths.ts';
import { closureOf, expectServed, publishAt, publishWholeAt, servedHash } from '../../support/publish-runs.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { blobOf, openRepository } from './open-repository.ts';

const FOR_EVER = Number.POSITIVE_INFINITY;
const MAX_TRIES = 8;

async function somePaths(): Promise<{ readonly paths: LocalPaths; readonly top: PathInfo }> {
  const paths = new LocalPaths(await tempDir());
  for (let i = 0; i < 4; i++) await paths.add(`large-${i}`, { f: noise(80_000, i) }, paths.infos.slice(-1));
  for (let i = 0; i < 6; i++) await paths.add(`tiny-${i}`, { f: `tiny ${i}` }, paths.infos.slice(-1));
  const top = await paths.add('top', { f: 'top' }, paths.infos);
  return { paths, top };
}

/** Until it succeeds; all failures on the way must be ones that a user can understand. */
async function persist<T>(act: () => Promise<T>, maxRuns: number): Promise<T> {
  for (let run = 1; ; run++) {
    try {
      return await act();
    } catch (error) {
      if (!isNixcacheError(error) || run === maxRuns) throw error;
    }
  }
}

/** Numbers from 0 to 1 that follow from `seed` (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

test('whatever befalls single requests, a publish, a gc and readers end whole, or fail and succeed the next time', async () => {
  const { paths, top } = await somePaths();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1 }), async (seed) => {
      const { registry, repository } = await openRepository({ ...PROFILES.ghcr, deletes: true }, { kind: 'generic' });
      const random = randomFrom(seed);
      const unlucky = async <T>(act: () => Promise<T>): Promise<T> => {
        registry.luck = badLuck(0.15, random);
        try {
          return await act();
        } finally {
          registry.calm();
        }
      };
      const reader = await IndexReader.open({ store: repository, strict: false });
      await persist(() => unlucky(() => publishWholeAt(repository, paths, [top], day(0))), 20);
      await expectServed(repository, paths.infos);
      await persist(() => unlucky(() => reader.refresh()), 20);
      for (const info of paths.infos) {
        // Refused, or right: never anything else.
        const hash = await unlucky(() => servedHash(reader, info)).catch((error: unknown) => {
          if (!isNixcacheError(error)) throw error;
          return info.narHash;
        });
        expect(hash).toBe(info.narHash);
      }
      await persist(() => unlucky(() => gcAt(repository, day(40))), 20);
      await expectServed(repository, paths.infos);
      expect(registry.violations).toEqual([]);
    }),
    // With the example, a reader that was sent damaged entries once left their whole segment out.
    { numRuns: Number(process.env['NIXCACHE_TEST_LOSSY_RUNS'] ?? 6), examples: [[49330177]] },
  );
});

describe('a fault that stays', () => {
  const FAULTS: Readonly<Record<string, { readonly act: FaultAct; readonly code: string }>> = {
    'an overloaded server': { act: { type: 'answer', status: 503 }, code: 'ERR_REGISTRY' },
    'a broken gateway': { act: { type: 'answer', status: 502, body: '<html>' }, code: 'ERR_REGISTRY' },
    'a line that breaks': { act: { type: 'reset', bytes: 10 }, code: 'ERR_NETWORK' },
    'a limit that is never lifted': {
      act: { type: 'answer', status: 429, headers: { 'retry-after': '30' } },
      code: 'ERR_REGISTRY',
    },
  };
  const REQUESTS: Readonly<Record<string, { readonly method: string; readonly path: RegExp }>> = {
    'looking for a blob': { method: 'HEAD', path: /\/blobs\// },
    'beginning an upload': { method: 'POST', path: /./ },
    'sending a blob': { method: 'PUT', path: /\/blobs\// },
    'committing a segment': { method: 'PUT', path: /\/manifests\/seg-/ },
    'listing tags': { method: 'GET', path: /\/tags\// },
  };
  const cases = Object.entries(FAULTS).flatMap(([fault, about]) =>
    Object.entries(REQUESTS).map(([request, match]) => ({ fault, request, ...about, ...match })),
  );

  it.each(cases)(
    '$fault while $request fails after few tries, and the next run completes',
    async ({ act, code, method, path }) => {
      const { paths, top } = await somePaths();
      const { registry, repository, clock } = await openRepository();
      registry.inject({ method, path, times: FOR_EVER, act });
      const start = clock.now();
      await expect(publishWholeAt(repository, paths, [top], day(0))).rejects.toMatchObject({ code });
      const tries = new Map<string, number>();
      for (const request of registry.requests) {
        if (request.method !== method || !path.test(request.path) || method === 'POST') continue;
        const what = request.path.replace(/uploads\/.*digest=/, '');
        tries.set(what, (tries.get(what) ?? 0) + 1);
      }
      expect(Math.max(0, ...tries.values())).toBeLessThanOrEqual(MAX_TRIES);
      expect(registry.count('POST')).toBeLessThanOrEqual(MAX_TRIES * 8);
      // Shared by all requests, so that it is a bound for the sum of their sleeps.
      expect(clock.now() - start).toBeLessThan(8 * 15 * 60_000);
      expect([...(registry.repositories.get('team/cache')?.tags.keys() ?? [])]).toEqual([]);
      registry.calm();
      await publishAt(repository, paths, [top], day(0));
      await expectServed(repository, paths.infos);
    },
  );

  it('on cache-index alone is a warning: everything was committed', async () => {
    const { paths, top } = await somePaths();
    const { registry, repository } = await openRepository();
    registry.inject({
      method: 'PUT',
      path: /\/manifests\/cache-index$/,
      times: FOR_EVER,
      act: { type: 'answer', status: 503 },
    });
    const { events } = await publishAt(repository, paths, [top], day(0));
    expect(events).toContainEqual({ type: 'warning', message: expect.stringContaining('cache-index was not updated') });
    expect(registry.count('PUT', /cache-index/)).toBeLessThanOrEqual(MAX_TRIES);
    await expectServed(repository, closureOf(paths, [top.path]));
  });
});

describe('damage on the way', () => {
  it.each<readonly [string, FaultAct]>([
    ['a wrong byte', { type: 'corrupt' }],
    ['another body', { type: 'replace', body: 'not it at all' }],
    ['an early end', { type: 'cut', bytes: 0, how: 'end' }],
  ])('of any NAR is noticed: %s', async (_, act) => {
    const { paths, top } = await somePaths();
    const { registry, repository } = await openRepository();
    await publishAt(repository, paths, [top], day(0));
    const reader = await expectServed(repository, paths.infos);
    registry.inject({ method: 'GET', path: /\/blobs\//, times: FOR_EVER, act });
    for (const info of paths.infos) {
      const failed = await servedHash(reader, info).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!isNixcacheError(failed)) throw failed ?? new Error(`${baseNameOf(info.path)} was accepted`);
      expect(['ERR_DIGEST_MISMATCH', 'ERR_NETWORK', 'ERR_RANGE', 'ERR_FORMAT']).toContain(failed.code);
    }
    expect(reader.has(hashPartOf(top.path))).toBe(true);
  });

  it('of an upload is refused by the registry and sent again', async () => {
    const { registry, repository } = await openRepository();
    const blob = blobOf(noise(300_000, 'sent'));
    registry.inject({
      method: 'PUT',
      act: { type: 'answer', status: 400, body: '{"errors":[{"code":"DIGEST_INVALID"}]}' },
    });
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('POST')).toBe(2);
  });

  it('of a page of tags that breaks off is healed by asking again', async () => {
    const { registry, repository } = await openRepository();
    const { paths, top } = await somePaths();
    await publishAt(repository, paths, [top], day(0));
    registry.inject({ path: /\/tags\//, times: 2, act: { type: 'cut', bytes: 20, how: 'reset' } });
    expect(await repository.listTags()).toHaveLength(2);
  });
});

describe('a server that dribbles', () => {
  const DRIBBLE: FaultAct = { type: 'dribble', everyMs: 20 };

  it.each<readonly [string, RegExp]>([
    ['the tag list', /\/tags\/list/],
    ['a manifest', /\/manifests\/cache-index/],
  ])('%s, never silent and never done, is given up in time', async (_, path) => {
    const { registry, repository } = await openRepository({}, { documentTimeoutMs: 200 });
    const { paths, top } = await somePaths();
    await publishAt(repository, paths, [top], day(0));
    registry.inject({ path, times: FOR_EVER, act: DRIBBLE });
    const asked = registry.requests.length;
    const reader = await IndexReader.open({ store: repository, strict: true });
    await expect(reader.refresh()).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    const tries = registry.requests.slice(asked).filter((request) => path.test(request.path));
    expect(tries.length).toBeLessThanOrEqual(2);
    registry.calm();
    registry.inject({ path, times: 1, act: DRIBBLE });
    await reader.refresh();
    expect(reader.has(hashPartOf(top.path))).toBe(true);
  });
});

describe('tokens', () => {
  it('that run out together, for reading and for writing, are fetched anew', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    const blob = blobOf('a blob');
    await repository.resolve('nothing');
    await repository.pushBlob(blob.descriptor, blob.open);
    registry.revokeTokens();
    expect(await repository.resolve('nothing')).toBeUndefined();
  });

  it('that are refused however fresh they are end in an error, soon', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer', tokenUses: 0 });
    await expect(repository.resolve('nothing')).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(registry.count('GET', /^\/token/)).toBeLessThanOrEqual(2);
  });
});

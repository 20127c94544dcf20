import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { checkIndex, type IndexCheckOptions, withoutIndex } from '../../src/doctor/check-index.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { problem } from '../../src/doctor/finding.ts';
import { NixcacheError } from '../../src/errors.ts';
import { parsePublicKey } from '../../src/nix/signature.ts';
import { baseNameFor, CacheBuilder } from '../support/cache-builder.ts';
import { DAY_SECONDS, day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { cacheOf, ours, theirs } from './signed-cache.ts';

async function examine(store: MemoryStore, options: Partial<IndexCheckOptions> = {}): Promise<Record<string, Finding>> {
  const { findings } = await checkIndex({
    openReader: () => IndexReader.open({ store, strict: true }),
    signingKeys: async () => [],
    now: () => day(3),
    ...options,
  });
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

describe('the doctor, of the index', () => {
  it('finds a signed and recent one well', async () => {
    const store = await cacheOf('well', [ours.public]);
    const found = await examine(store, { signingKeys: async () => [parsePublicKey(ours.public)] });
    expect(Object.values(found).map(({ verdict }) => verdict)).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect(found['index']?.message).toBe('3 entries in 3 segments, format 1');
    expect(found['age']?.message).toBe('the newest publish is 24 h old');
  });

  it('goes on past a public key that is none, and tells of it', async () => {
    const found = await examine(await cacheOf('well', ['broken-1:AAAA', ours.public]));
    expect(found['index']).toMatchObject({ verdict: 'warning', message: expect.stringContaining("'broken-1:AAAA'") });
    expect(found['signatures']).toMatchObject({ verdict: 'ok' });
  });

  it.each([
    ['wrongly', [ours.public], 'problem', 'wrong signature'],
    ['not', [ours.public], 'warning', 'no signature'],
    ['unknown', [ours.public], 'warning', 'no publisher named'],
  ] as const)('sees entries that are signed %s', async (sign, keys, verdict, message) => {
    const found = await examine(await cacheOf(sign, keys));
    expect(found['signatures']).toMatchObject({ verdict, message: expect.stringContaining(message) });
  });

  it('sends to the key of a cache that is signed, and to a new one only where none is', async () => {
    const signed = await examine(await cacheOf('not', [ours.public]));
    expect(signed['signatures']?.fix).toContain("the cache's own key (ours-1): nixcache publish --key-file FILE");
    expect(signed['signatures']?.fix).not.toContain('generate');
    const unsigned = await examine(await cacheOf('not', []));
    expect(unsigned['signatures']?.fix).toContain('nixcache key generate NAME');
  });

  it('does not send to verify for a layout that cannot be opened: it could not read it either', async () => {
    const found = await examine(new MemoryStore(), {
      openReader: () => Promise.reject(new NixcacheError('ERR_INDEX', 'read index.json: it is no JSON; restore it')),
    });
    expect(found['index']).toMatchObject({ verdict: 'problem', fix: 'see above' });
  });

  it.each([
    ['another key of the same name', [`ours-1:${theirs.public.split(':')[1]}`], 'problem'],
    ['a key that is new to the cache', [theirs.public], 'warning'],
    ['its own key', [theirs.public, ours.public], 'ok'],
  ] as const)('compares the signing key: %s', async (_, keys, verdict) => {
    const found = await examine(await cacheOf('well', keys), {
      signingKeys: async () => [parsePublicKey(ours.public)],
    });
    expect(found['key']?.verdict).toBe(verdict);
  });

  it.each([
    [day(40), 'warning', 'nothing was published for 38 days'],
    [day(1), 'warning', 'clock is wrong'],
  ])('minds the age of the newest publish on %s', async (now, verdict, message) => {
    const found = await examine(await cacheOf('well', []), { now: () => now });
    expect(found['age']).toMatchObject({ verdict, message: expect.stringContaining(message) });
  });

  it('takes neither a pin nor a gc, which list again what they keep, for a publish', async () => {
    const store = await cacheOf('well', []);
    const pins = [{ name: 'kept', path: baseNameFor('a'), time: day(30).getTime() / 1000 }];
    await new CacheBuilder(store).publish({ at: day(30), asserted: ['a'], pins });
    const age = async () => (await examine(store, { now: () => day(40) }))['age'];
    expect(await age()).toMatchObject({ verdict: 'warning', message: 'nothing was published for 38 days' });
    await gcAt(store, day(40), { retainSeconds: 60 * DAY_SECONDS });
    expect(await age()).toMatchObject({ verdict: 'warning', message: 'nothing was published for 38 days' });
  });

  it('says when the format is newer, and what to do', async () => {
    const store = await cacheOf('well', []);
    const [digest] = store.tags.values();
    if (digest) store.tags.set(`seg2-${'0'.repeat(26)}-${'0'.repeat(64)}`, digest);
    const found = await examine(store);
    expect(found['index']).toMatchObject({ verdict: 'problem', fix: 'install a newer nixcache' });
    expect(found['signatures']?.verdict).toBe('skipped');
  });

  it('finds a damaged index, and sends to verify', async () => {
    const store = await cacheOf('well', []);
    store.blobs.clear();
    expect((await examine(store))['index']).toMatchObject({
      verdict: 'problem',
      fix: expect.stringContaining('nixcache verify'),
    });
  });
});

describe('the signing key of this machine', () => {
  const signingKeys = async () => [parsePublicKey(ours.public)];

  it('is not needed', async () => {
    expect((await examine(await cacheOf('well', [ours.public])))['key']).toMatchObject({ verdict: 'skipped' });
  });

  it('that cannot be read is a problem of its own', async () => {
    const found = await examine(await cacheOf('well', [ours.public]), {
      signingKeys: () => Promise.reject(new NixcacheError('ERR_KEY', 'the key is none')),
    });
    expect(found['key']).toMatchObject({ verdict: 'problem', message: 'the key is none' });
    expect(found['signatures']?.verdict).toBe('ok');
  });

  it('will sign an empty cache, and is told to clients of one that has entries of nobody', async () => {
    expect((await examine(new MemoryStore(), { signingKeys }))['key']).toMatchObject({
      ...{ verdict: 'ok', message: 'ours-1 will sign what is published from here' },
    });
    const found = await examine(await cacheOf('not', []), { signingKeys });
    expect(found['key']).toMatchObject({ verdict: 'warning', fix: expect.stringContaining(ours.public) });
  });

  it('is judged also where there is no index', async () => {
    const why = problem('index', 'nobody can read it');
    const { findings, reader } = await withoutIndex(why, 'because', { signingKeys });
    expect(findings.map(({ check, verdict }) => [check, verdict])).toEqual([
      ['index', 'problem'],
      ['age', 'skipped'],
      ['key', 'ok'],
      ['signatures', 'skipped'],
    ]);
    expect(reader).toBeUndefined();
  });
});

it('an empty cache has nothing that could be old or unsigned', async () => {
  const store = new MemoryStore();
  expect((await examine(store))['age']).toMatchObject({ verdict: 'warning', fix: 'nixcache publish' });
  expect((await examine(store))['signatures']?.verdict).toBe('skipped');
});

it('of many entries a sample is looked at', async () => {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at: day(0), paths: Array.from({ length: 101 }, (_, i) => `p${i}`) });
  expect((await examine(store))['signatures']?.message).toMatch(/^100 of 100 entries have no signature/);
});

import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { hashPartOf, nameOf } from '../../src/nix/store-path.ts';
import { digestFromHex } from '../../src/oci/digest.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { DEFAULT_TIMEOUT_MS, parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { hasDamage } from '../../src/verify/report.ts';
import { baseNameFor, CacheBuilder, namesIn, openReader } from '../support/cache-builder.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
import { day } from '../support/gc-runs.ts';
import { flipped, memoryVandal } from '../support/vandal.ts';
import { kindsOf, REPAIR, verify } from '../support/verify-runs.ts';

describe('repair from an upstream', () => {
  const open = async () => {
    const fake = await startFakeUpstream();
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const patience = {
      retry: { attempts: 1, baseDelayMs: 1, maxDelayMs: 1, deadlineMs: 1000 },
      breaker: { failures: 100, spanMs: 0, openMs: 1, maxOpenMs: 1 },
    };
    const upstream = new Upstream({ ...parseUpstream(fake.url), timeoutMs: DEFAULT_TIMEOUT_MS }, { http, patience });
    return { fake, upstreams: [upstream] };
  };
  const lossy = async () => {
    const vandal = memoryVandal();
    const cache = new CacheBuilder(vandal.store);
    await cache.publish({
      at: day(0),
      packed: false,
      paths: [
        { name: 'big', bytes: 300_000 },
        { name: 'top', references: ['big'] },
      ],
    });
    const entry = (await openReader(vandal.store)).findEntry(hashPartOf(baseNameFor('big')));
    const nar = cache.nars.get('big')?.[0];
    if (!entry || !nar) throw new Error('no big');
    return { ...vandal, cache, nar, digest: entry.nar[0]?.digest ?? digestFromHex('0'.repeat(64)) };
  };

  it('takes what is the same NAR, also where other bytes lie in its place', async () => {
    for (const how of ['remove', 'flip'] as const) {
      const { store, remove, alter, cache, nar, digest } = await lossy();
      const { fake, upstreams } = await open();
      addPath(fake, { baseName: baseNameFor('big'), nar });
      if (how === 'remove') await remove(digest);
      else await alter(digest, flipped);
      const report = await verify(store, { contents: true, upstreams, repair: REPAIR });
      expect(hasDamage(report)).toBe(false);
      expect(report.repair).toMatchObject({ restored: [expect.stringMatching(/-big$/)], dropped: [] });
      const reader = await openReader(store);
      const entry = reader.findEntry(hashPartOf(baseNameFor('big')));
      expect(entry?.narInfo).toMatchObject({ compression: 'none', fileSize: nar.length });
      await cache.expectReadable(['top']);
      expect(kindsOf((await verify(store, { contents: true })).findings)).toEqual([]);
    }
  });

  it('drops alone what upstream has under another hash: the closure stays whole', async () => {
    const { store, remove, digest } = await lossy();
    const { fake, upstreams } = await open();
    addPath(fake, { baseName: baseNameFor('big'), nar: Buffer.from('another build') });
    await remove(digest);
    const report = await verify(store, { upstreams, repair: REPAIR });
    expect(report.repair?.dropped.map(({ path }) => nameOf(path))).toEqual(['big']);
    expect(await namesIn(store)).toEqual(['top']);
  });

  it('believes no NAR that is not what the entry says', async () => {
    const { store, remove, digest, nar } = await lossy();
    const { fake, upstreams } = await open();
    const { url } = addPath(fake, { baseName: baseNameFor('big'), nar });
    fake.files.set(`/${url}`, flipped(nar));
    await remove(digest);
    const report = await verify(store, { upstreams, repair: REPAIR });
    expect(report.repair?.failed).toMatchObject([{ path: expect.stringMatching(/-big$/) }]);
    expect(report.repair?.dropped.map(({ path }) => nameOf(path))).toEqual(['big']);
  });

  it('drops nothing while an upstream does not answer', async () => {
    const { store, remove, digest } = await lossy();
    const { fake, upstreams } = await open();
    fake.faults.status = 500;
    await remove(digest);
    const report = await verify(store, { upstreams, repair: REPAIR });
    expect(report.repair).toMatchObject({ dropped: [], blocked: expect.stringContaining('it is not known') });
    expect(hasDamage(report)).toBe(true);
    expect(await namesIn(store)).toEqual(['big', 'top']);
  });
});

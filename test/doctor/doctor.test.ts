import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { type DoctorOptions, runDoctor } from '../../src/doctor/doctor.ts';
import { NixcacheError } from '../../src/errors.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const upstream = (name: string, fetchCacheInfo: () => Promise<unknown>): Upstream =>
  ({ name, fetchCacheInfo }) as unknown as Upstream;

/** A machine with a cache on disk that was published to today, unless told otherwise. */
async function run(changes: Partial<DoctorOptions> = {}) {
  const path = join(await tempDir(), 'cache');
  const store = await LayoutStore.open(path, { create: true });
  await new CacheBuilder(store).publish({ at: day(0), paths: ['a'], roots: ['a'] });
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const told: string[] = [];
  const report = await runDoctor({
    http,
    nix: new NixCommand({ env: { PATH: '/nonexistent', HOME: '/nonexistent' } }),
    cache: () => ({
      reference: { kind: 'layout', path },
      name: 'the cache',
      from: 'a test',
      registryKind: undefined,
      plainHttp: false,
    }),
    credentials: {} as DoctorOptions['credentials'],
    openReader: async () => {
      const reader = await IndexReader.open({ store, strict: true });
      await reader.refresh();
      return reader;
    },
    signingKeys: async () => [],
    upstreams: () => [upstream('far', async () => ({}))],
    ...{ serveUrl: 'http://127.0.0.1:1', isServeConfigured: false },
    indexDirectory: () => path,
    now: () => day(0),
    ...changes,
    onFinding: ({ check }) => told.push(check),
  });
  const of = (check: string) => report.findings.filter((each) => each.check === check);
  return { report, told, of };
}

it('tells every finding in one order, whichever is ready first, and counts them', async () => {
  const { report, told } = await run({
    upstreams: () => [upstream('slow', () => new Promise(setImmediate)), upstream('none', async () => undefined)],
  });
  expect(told).toEqual(report.findings.map(({ check }) => check));
  expect(
    told.filter((check, i) => check !== told[i - 1] && !['features', 'daemon', 'builders'].includes(check)),
  ).toEqual([
    ...['nix', 'cache', 'pull', 'push', 'index', 'age', 'key', 'signatures', 'upstream', 'proxy', 'trust', 'disk'],
  ]);
  const count = (verdict: string): number => report.findings.filter((each) => each.verdict === verdict).length;
  expect(report).toMatchObject({ cache: 'the cache', problems: count('problem'), warnings: count('warning') });
});

it('makes findings of settings that are wrong, and looks at all the rest', async () => {
  const wrong = (): never => {
    throw new NixcacheError('ERR_USAGE', 'that is no name');
  };
  const { report, of } = await run({ cache: wrong, upstreams: wrong });
  expect(report.cache).toBeUndefined();
  expect(of('cache')).toMatchObject([{ verdict: 'problem', message: expect.stringContaining('that is no name') }]);
  expect(of('upstream')).toMatchObject([{ verdict: 'problem', fix: expect.stringContaining('--upstream') }]);
  expect(of('index')).toMatchObject([{ verdict: 'skipped', message: expect.stringContaining('no cache is known') }]);
  expect([of('disk'), of('proxy').length, of('trust').length]).toEqual([[], 1, 1]);
});

it('judges each upstream by itself', async () => {
  const { of } = await run({
    upstreams: () => [
      upstream('good', async () => ({})),
      upstream('website', async () => undefined),
      upstream('down', () => Promise.reject(new NixcacheError('ERR_NETWORK', 'refused'))),
    ],
  });
  expect(of('upstream').map(({ verdict, message }) => [verdict, message])).toEqual([
    ['ok', 'good answers'],
    ['problem', 'website is no binary cache: it has no nix-cache-info'],
    ['problem', 'down fails: refused'],
  ]);
});

it('says when no upstream is used', async () => {
  expect((await run({ upstreams: () => [] })).of('upstream')).toMatchObject([{ verdict: 'skipped' }]);
});

it('makes no finding of a bug of ours', async () => {
  const bug = (): never => {
    throw new TypeError('undefined is no function');
  };
  await expect(run({ cache: bug })).rejects.toThrow(TypeError);
});

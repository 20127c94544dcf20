import { describe, expect, it, onTestFinished } from 'vitest';
import type { Entry } from '../../src/cache-index/entry.ts';
import { EntryTable } from '../../src/cache-index/entry-table.ts';
import type { Pin, Root } from '../../src/cache-index/records.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { parseBaseName } from '../../src/nix/store-path.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { checkClosure } from '../../src/verify/check-closure.ts';
import { Findings } from '../../src/verify/finding.ts';
import { baseNameFor, hashPartFor } from '../support/cache-builder.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
import { type EntrySpec, scanned } from './scanned.ts';

const root = (name: string): Root => ({ name, path: baseNameFor(name), time: 1, run: 'run' });
const pin = (name: string, path: string, more: Partial<Pin> = {}): Pin => ({
  ...{ name, path: baseNameFor(path), time: 1 },
  ...more,
});

async function upstreamWith(...names: string[]) {
  const far = await startFakeUpstream();
  for (const name of names) addPath(far, { baseName: baseNameFor(name), nar: Buffer.from(name) });
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const patience = { ...PROMPT, retry: { ...PROMPT.retry, attempts: 1 } };
  return { far, upstream: new Upstream(parseUpstream(far.url), { http, patience }) };
}

interface Given {
  readonly segments: readonly (readonly EntrySpec[])[];
  readonly roots?: readonly Root[];
  readonly pins?: readonly Pin[];
  readonly upstreams?: readonly Upstream[];
}

async function check({ segments: specs, roots = [], pins = [], upstreams = [] }: Given) {
  const segments = specs.map((entries) => scanned({ entries }));
  const findings = new Findings();
  const progress: number[] = [];
  const { missing } = await checkClosure({
    ...{ segments, roots, pins, upstreams, storeDir: '/nix/store', findings },
    table: EntryTable.of(segments.map(({ parts }) => parts.rows)),
    onProgress: (done, total) => progress.push(done, total),
  });
  const found = findings.list.map(({ kind, what }) => [kind, what.replace(/^\/nix\/store\/[0-9a-z]{32}-/, '')]);
  return { missing, found, findings: findings.list, progress };
}

describe('a closure', () => {
  it('is whole over several segments, and with references to itself', async () => {
    const segments = [[{ name: 'app', references: ['app', 'lib'] }], [{ name: 'lib' }]];
    expect(await check({ segments, roots: [root('app')], pins: [pin('p', 'lib')] })).toMatchObject({
      ...{ missing: new Map(), found: [], progress: [] },
    });
  });

  it('lacks what is nowhere, which is told once with who needs it and how many', async () => {
    const segments = [
      [
        { name: 'app', references: ['gone'] },
        { name: 'app2', references: ['gone'] },
      ],
      [{ name: 'app3', references: ['gone'] }],
    ];
    const { missing, found, findings } = await check({ segments });
    expect(missing).toEqual(new Map([[hashPartFor('gone'), baseNameFor('gone')]]));
    expect(found).toEqual([['missing-reference', 'gone']]);
    expect(findings[0]?.message).toMatch(
      /-app2? and 2 more refers to .*-gone, which is in neither the cache, and no upstream/,
    );
  });

  it('lacks what was left out on purpose as no damage, unless others need it who do not say so', async () => {
    const without = (name: string): EntrySpec => ({
      ...{ name, references: ['gone'] },
      edit: (entry) => ({ ...entry, leftOut: [baseNameFor('gone')] }),
    });
    const onPurpose = await check({ segments: [[without('app'), without('app2')]] });
    expect([onPurpose.missing.size, onPurpose.found]).toEqual([0, [['left-out-on-purpose', 'gone']]]);
    const mixed = await check({ segments: [[without('app'), { name: 'app2', references: ['gone'] }]] });
    expect([mixed.missing.size, mixed.found]).toEqual([1, [['missing-reference', 'gone']]]);
  });

  it('lacks what has its hash and another name, in the cache or upstream, and nobody else is harmed', async () => {
    const { upstream } = await upstreamWith('glibc');
    const refersTo =
      (...names: string[]) =>
      (entry: Entry): Entry => ({
        ...entry,
        narInfo: { ...entry.narInfo, references: names.map(parseBaseName) },
      });
    const [lib, glibc] = [baseNameFor('lib'), baseNameFor('glibc')];
    const segments = [
      [
        { name: 'app', edit: refersTo(`${lib}-other`, `${glibc}-other`) },
        { name: 'good', references: ['lib', 'glibc'] },
      ],
      [{ name: 'lib' }],
    ];
    const { missing, found, findings } = await check({ segments, upstreams: [upstream] });
    expect(missing.size).toBe(0);
    expect(found).toEqual([
      ['misnamed-reference', 'lib-other'],
      ['misnamed-reference', 'glibc-other'],
    ]);
    expect(findings[0]?.message).toContain(`what has that hash is called ${lib}`);
    expect(findings.map(({ severity }) => severity)).toEqual(['damage', 'damage']);
  });

  it('lacks nothing that an upstream has', async () => {
    const { far, upstream } = await upstreamWith('glibc');
    const segments = [[{ name: 'app', references: ['glibc', 'gone'] }]];
    const { found, findings, progress } = await check({ segments, upstreams: [upstream] });
    expect(found).toEqual([['missing-reference', 'gone']]);
    expect(findings[0]?.message).toMatch(/in neither the cache nor upstream$/);
    expect(far.requests).toHaveLength(2); // the cache's own are not asked for
    expect(progress.slice(-2)).toEqual([2, 2]);
  });

  it('is not known to lack what an upstream does not answer about', async () => {
    const { far, upstream } = await upstreamWith();
    far.faults.status = 500;
    const segments = [[{ name: 'app', references: ['x', 'y'] }]];
    const { missing, found, findings } = await check({
      ...{ segments, upstreams: [upstream], roots: [root('elsewhere')] },
    });
    expect(missing.size).toBe(0);
    expect(found).toEqual([['unknown-reference', upstream.name]]);
    expect(findings[0]?.message).toMatch(/^3 references could not be looked up: /);
  });
});

describe('roots and pins', () => {
  it('that are nowhere are told of, and are no references that are missing', async () => {
    const { missing, found } = await check({
      ...{ segments: [[{ name: 'a' }]], roots: [root('a'), root('b')], pins: [pin('one', 'a'), pin('two', 'c')] },
    });
    expect(found).toEqual([
      ['root-dangling', 'b'],
      ['pin-dangling', 'two'],
    ]);
    expect(missing.size).toBe(0);
  });

  it('that an upstream has are there', async () => {
    const { upstream } = await upstreamWith('b', 'c');
    const { found } = await check({
      ...{ segments: [[{ name: 'a' }]], roots: [root('b')], pins: [pin('two', 'c')], upstreams: [upstream] },
    });
    expect(found).toEqual([]);
  });

  it('count as they are now: pins that were moved or removed since lead nowhere without harm', async () => {
    const pins = [
      pin('moved', 'gone'),
      pin('moved', 'a', { time: 2 }),
      pin('removed', 'gone'),
      { name: 'removed', time: 2, removed: true },
    ];
    expect((await check({ segments: [[{ name: 'a' }]], pins })).found).toEqual([]);
  });
});

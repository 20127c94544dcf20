import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Entry, fileHashOf, narUrl, wholeBlob } from '../../src/cache-index/entry.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import type { Inspection } from '../../src/verify/inspect.ts';
import type { LocalSource } from '../../src/verify/local-source.ts';
import { type PlanRepairOptions, planRepair } from '../../src/verify/plan.ts';
import type { RowFault, ScannedSegment } from '../../src/verify/scanned-segment.ts';
import { baseNameFor, hashPartFor } from '../support/cache-builder.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { narOf } from '../support/nar.ts';
import { type EntrySpec, entryOf, inspectionOf, rowOf, scanned } from './scanned.ts';

const KEY = parseSecretKey(generateKey('plan-1').secret);

const ENTRIES: readonly EntrySpec[] = [
  { name: 'app', references: ['lib'] },
  { name: 'lib', references: ['libc'] },
  { name: 'libc' },
  { name: 'doc' },
];

/** A cache of `ENTRIES`, each a segment, with these faults. */
function cacheWith(faults: Readonly<Record<string, RowFault>>, entries = ENTRIES): ScannedSegment[] {
  return entries.map((entry) => {
    const segment = scanned({ entries: [entry] });
    const fault = faults[entry.name];
    if (fault) segment.blame(rowOf(segment, entry.name), fault);
    return segment;
  });
}

const infoOf = (name: string, edit: Partial<PathInfo> = {}): PathInfo => {
  const { path, narHash, narSize, references } = entryOf(
    ENTRIES.find((each) => each.name === name) ?? { name },
  ).narInfo;
  return { path, narHash, narSize, references, sigs: [], ...edit };
};

/** A local store with `infos`. */
const localWith = (infos: readonly PathInfo[], signs = false): LocalSource => ({
  signs,
  queryValid: async (paths) => infos.filter(({ path }) => paths.includes(path)),
  queryClosure: async () => infos,
  push: () => Promise.reject(new Error('planning pushes nothing')),
});

async function upstreamWith(...names: string[]) {
  const far = await startFakeUpstream();
  for (const name of names) addPath(far, { baseName: baseNameFor(name), nar: Buffer.from(name) });
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return { far, upstream: new Upstream(parseUpstream(far.url), { http, patience: PROMPT }) };
}

const plan = async (inspection: Inspection, options: Partial<PlanRepairOptions> = {}) => {
  const made = await planRepair(inspection, {
    ...{ store: new MemoryStore(), local: undefined, upstreams: [], dropIncomplete: false },
    ...options,
  });
  return {
    ...made,
    push: made.push.map(({ info, unlike }) => [info.path.slice(44), unlike]),
    infos: made.push.map(({ info }) => info),
    drop: [...made.drop.values()].map(({ path, reason }) => [
      path.slice(44),
      reason.replace(/\/nix\/store\/.{33}/, ''),
    ]),
    rewrite: made.rewrite.length,
  };
};

describe('what is lost', () => {
  it('is dropped with all that refers to it, and the segments of those are written anew, no others', async () => {
    const segments = cacheWith({ lib: { nar: 'lost' } });
    const made = await plan(inspectionOf(segments));
    expect(made.drop).toEqual([
      ['lib', 'its bytes are lost'],
      ['app', 'it refers to lib'],
    ]);
    const planned = await planRepair(inspectionOf(segments), {
      ...{ store: new MemoryStore(), local: undefined, upstreams: [], dropIncomplete: false },
    });
    expect(planned.rewrite).toEqual(segments.slice(0, 2).map(({ tag }) => tag));
    expect(made).toMatchObject({ push: [], fetch: [], cacheIndex: true, blocked: undefined });
  });

  it('is dropped where its blob is gone, though the same bytes have come back meanwhile: somebody else may take them away', async () => {
    const nar = narOf({ contents: 'lib' });
    const packed = zstdCompressSync(nar);
    const digest = digestOf(packed);
    const whole = (entry: Entry): Entry => {
      const [narHash, fileHash] = [fileHashOf(digestOf(nar)), fileHashOf(digest)];
      const file = { fileHash, fileSize: packed.length, url: narUrl(fileHash, 'zstd') };
      return {
        narInfo: { ...entry.narInfo, narHash, narSize: nar.length, ...file },
        nar: [wholeBlob(digest, packed.length)],
      };
    };
    const store = new MemoryStore();
    store.blobs.set(digest, packed);
    const entries = ENTRIES.map((entry) => (entry.name === 'lib' ? { ...entry, edit: whole } : entry));
    const saved = await plan(inspectionOf(cacheWith({ lib: { nar: 'corrupt' } }, entries)), { store });
    expect([saved.fetch.length, saved.drop]).toEqual([1, []]);
    const lost = await plan(inspectionOf(cacheWith({ lib: { nar: 'lost' } }, entries)), { store });
    expect([lost.fetch.length, lost.drop.map(([name]) => name)]).toEqual([0, ['lib', 'app']]);
  });

  it('is pushed where the local store has the very same', async () => {
    const inspection = inspectionOf(cacheWith({ lib: { nar: 'lost' } }));
    const made = await plan(inspection, { local: localWith([infoOf('lib')]) });
    expect(made).toMatchObject({ push: [['lib', undefined]], drop: [] });
    for (const edit of [{ narSize: 7 }, { narHash: infoOf('doc').narHash }, { references: [] }]) {
      const other = await plan(inspection, { local: localWith([infoOf('lib', edit)]) });
      expect([other.push, other.drop.length]).toEqual([[], 2]);
    }
  });

  it('is pushed in another form where other bytes lie in its place, with all signatures', async () => {
    const entries = ENTRIES.map((entry) => (entry.name === 'lib' ? { ...entry, keys: [KEY] } : entry));
    const inspection = inspectionOf(cacheWith({ lib: { nar: 'corrupt' } }, entries));
    const own = 'own-1:AAAA';
    const made = await plan(inspection, { local: localWith([infoOf('lib', { sigs: [own] })]) });
    expect(made.push).toEqual([['lib', 'zstd']]);
    expect(made.infos[0]?.sigs).toEqual([own, signPathInfo(infoOf('lib'), KEY)]);
  });

  it('is dropped alone where an upstream has the path: what refers to it finds it there', async () => {
    const { upstream } = await upstreamWith('lib');
    const made = await plan(inspectionOf(cacheWith({ lib: { nar: 'lost' } })), { upstreams: [upstream] });
    expect(made).toMatchObject({ drop: [['lib', 'its bytes are lost']], fetch: [], blocked: undefined });
  });

  it('is fetched from an upstream that has the very same NAR', async () => {
    const { far, upstream } = await upstreamWith();
    const narInfo = addPath(far, { baseName: baseNameFor('doc'), nar: Buffer.from('the documents') });
    const edit = (entry: ReturnType<typeof entryOf>) => ({
      ...entry,
      narInfo: { ...entry.narInfo, narHash: narInfo.narHash, narSize: narInfo.narSize },
    });
    const inspection = inspectionOf(cacheWith({ doc: { nar: 'lost' } }, [{ name: 'doc', edit }]));
    const made = await plan(inspection, { upstreams: [upstream] });
    expect(made.fetch).toMatchObject([{ hashPart: hashPartFor('doc'), upstream, narInfo: { compression: 'none' } }]);
    expect(made.drop).toEqual([]);
    const pushed = await plan(inspection, { upstreams: [upstream], local: localWith([{ ...narInfo, sigs: [] }]) });
    expect(pushed).toMatchObject({ push: [['doc', undefined]], fetch: [] });
  });

  it('is not dropped while nobody knows what an upstream has', async () => {
    const { far, upstream } = await upstreamWith();
    far.faults.status = 500;
    const made = await plan(inspectionOf(cacheWith({ lib: { nar: 'lost' } })), { upstreams: [upstream] });
    expect(made.blocked).toMatch(/^it is not known what upstream has: /);
  });

  it('is not dropped while the registry gives an error for something', async () => {
    const inspection = inspectionOf(cacheWith({ lib: { nar: 'lost' } }));
    inspection.findings.add('unanswered', 'seg-1', 'it answers 500');
    expect((await plan(inspection)).blocked).toBe('the registry gives an error for seg-1');
  });
});

describe('what is missing', () => {
  const inspection = () =>
    inspectionOf(cacheWith({}, ENTRIES.slice(0, 2)), {
      missing: new Map([[hashPartFor('libc'), baseNameFor('libc')]]),
    });

  it('is pushed with all that it needs, as far as the cache and upstreams lack it', async () => {
    const { upstream } = await upstreamWith('elsewhere');
    const local = localWith([infoOf('lib'), infoOf('elsewhere'), infoOf('deep'), infoOf('libc')]);
    const made = await plan(inspection(), { local, upstreams: [upstream] });
    expect(made.push.map(([name]) => name)).toEqual(['deep', 'libc']);
  });

  it('is pushed to a cache with keys only if it will be signed', async () => {
    const keyed = { ...inspection(), keys: [KEY.publicKey] };
    expect((await plan(keyed, { local: localWith([infoOf('libc')]) })).push).toEqual([]);
    expect((await plan(keyed, { local: localWith([infoOf('libc')], true) })).push).toHaveLength(1);
    const signed = infoOf('libc', { sigs: [signPathInfo(infoOf('libc'), KEY)] });
    expect((await plan(keyed, { local: localWith([signed]) })).push).toHaveLength(1);
  });

  it('costs nothing, unless what lacks it is to be dropped', async () => {
    expect(await plan(inspection())).toMatchObject({ drop: [], rewrite: 0, cacheIndex: false });
    expect((await plan(inspection(), { dropIncomplete: true })).drop).toEqual([
      ['lib', 'it refers to libc'],
      ['app', 'it refers to lib'],
    ]);
    const local = localWith([infoOf('libc')]);
    expect((await plan(inspection(), { dropIncomplete: true, local })).drop).toEqual([]);
  });
});

it('what is unsigned is pushed by who has a key', async () => {
  const inspection = inspectionOf(cacheWith({}), { unsigned: new Set([infoOf('doc').path]) });
  const local = (signs: boolean) => localWith([infoOf('doc'), infoOf('lib')], signs);
  expect((await plan(inspection, { local: local(true) })).push).toEqual([['doc', undefined]]);
  expect((await plan(inspection, { local: local(false) })).push).toEqual([]);
  // Also where what nobody signed is not even the same.
  const other = localWith([infoOf('doc', { narSize: 1 })], true);
  expect((await plan(inspection, { local: other })).push).toEqual([['doc', undefined]]);
});

describe('what is only not as it should be', () => {
  it('is written anew, and nothing of it is dropped', async () => {
    const made = await plan(inspectionOf(cacheWith({ lib: { text: true }, doc: { listing: true } })));
    expect(made).toMatchObject({ drop: [], push: [], fetch: [], rewrite: 2, cacheIndex: true });
  });

  it.each(['cache-index-missing', 'cache-index-stale', 'cache-index-unreadable'] as const)(
    'has %s written anew',
    async (kind) => {
      const inspection = inspectionOf(cacheWith({}));
      inspection.findings.add(kind, 'cache-index', 'it is not as it should be');
      expect(await plan(inspection)).toMatchObject({ cacheIndex: true, rewrite: 0 });
    },
  );

  it("leaves another tool's cache-index alone", async () => {
    const scan = {
      index: 'foreign',
      damagedCheckpoints: ['c1'],
      lostCheckpoints: ['c2'],
    } as unknown as Inspection['scan'];
    const made = await plan(inspectionOf(cacheWith({ lib: { text: true } }), { scan }));
    expect(made).toMatchObject({ cacheIndex: false, replaceCheckpoints: ['c1'], removeCheckpoints: ['c2'] });
  });

  it('has its tag again where only that is gone', async () => {
    const inspection = inspectionOf(cacheWith({}));
    inspection.findings.add('segment-untagged', 'seg-1', 'its tag is gone');
    expect(await plan(inspection)).toMatchObject({ retag: ['seg-1'], rewrite: 0, cacheIndex: false });
  });
});

/** Pushes that end early, interrupted or failing half-way: what was stored by then is committed, closed and without roots. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fetchRecords } from '../../src/cache/read/stored-records.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import type { PublishPathsOptions } from '../../src/publish/publish-paths-options.ts';
import { LocalPaths } from '../support/local-paths.ts';
import { MemoryStore, type StoreMethod } from '../support/memory-store.ts';
import { expectServed, type PublishRun, publishAt } from '../support/publish-runs.ts';
import { tempDir } from '../support/temp-dir.ts';

const AT = new Date('2026-11-20T12:00:00Z');
/** Only what hangs for ever is given up on. */
const PATIENT = { uploadMs: 60_000, endMs: 60_000 };
const LIMITS = { interrupt: PATIENT, failure: PATIENT };
const LARGE_BYTES = 3_000_000;

/** `count` paths, each with the one before below it; every third has a blob of its own. */
async function chain(count: number): Promise<LocalPaths> {
  const paths = new LocalPaths(await tempDir());
  for (let i = 0; i < count; i++) {
    await paths.add(`p-${i}`, { f: randomBytes(i % 3 === 0 ? 100_000 : 300) }, paths.infos.slice(-1));
  }
  return paths;
}

const stoppedOf = ({ result }: PublishRun) => {
  const { outcome } = result;
  if (!outcome) throw new Error('it was a dry run');
  const { stopped } = outcome;
  return { stopped, pushed: outcome.pushed, missing: stopped?.missing ?? [], segments: outcome.segments };
};

/** What was said to be pushed is there with all it refers to and its bytes, the rest is missing, and there are no roots. */
async function expectTruth(store: ContentStore, paths: LocalPaths, run: PublishRun): Promise<void> {
  const { pushed, missing } = stoppedOf(run);
  expect([...pushed, ...missing].map(({ path }) => path).sort()).toEqual(paths.infos.map(({ path }) => path).sort());
  const reader = await expectServed(store, pushed);
  for (const { references } of pushed) for (const each of references) expect(reader.has(hashPartOf(each))).toBe(true);
  for (const { path } of missing) expect(reader.has(hashPartOf(path))).toBe(false);
  expect(await rootsOf(store, reader)).toEqual([]);
}

async function rootsOf(store: ContentStore, reader: Awaited<ReturnType<typeof expectServed>>): Promise<string[]> {
  const { view } = reader;
  return view ? (await fetchRecords(store, view, {})).roots.map(({ name }) => name) : [];
}

const last = (paths: LocalPaths): PathInfo[] => paths.infos.slice(-1);

/** Publishes the last of `paths`; `onCall` may interrupt. */
async function publishUntil(
  paths: LocalPaths,
  onCall: (method: StoreMethod, args: readonly unknown[], interrupt: () => void) => void | Promise<void>,
  options: Partial<PublishPathsOptions> & { readonly maxLayers?: number } = {},
): Promise<{ readonly store: MemoryStore; readonly run: PublishRun; readonly calls: number }> {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort(new NixcacheError('ERR_INTERRUPTED', 'interrupted by SIGINT'));
  const hook: { call: typeof onCall | undefined; calls: number } = { call: onCall, calls: 0 };
  const store = new MemoryStore({
    maxLayers: options.maxLayers ?? 1000,
    onCall: (method, args) => {
      hook.calls += 1;
      return hook.call?.(method, args, interrupt);
    },
  });
  const run = await publishAt(store, paths, last(paths), AT, {
    ...{ signal: controller.signal, stopLimits: LIMITS, ...options },
  });
  hook.call = undefined;
  return { store, run, calls: hook.calls };
}

const isSegment = (method: StoreMethod, [tag]: readonly unknown[]): boolean =>
  method === 'pushManifest' && parseTag(String(tag))?.kind === 'segment';

describe('a push that is interrupted', () => {
  it('commits what is stored, and the next run sends only the rest', async () => {
    const paths = await chain(30);
    let blobs = 0;
    const interruptAtFourth = (method: StoreMethod, _args: readonly unknown[], interrupt: () => void): void => {
      if (method === 'pushBlob' && ++blobs === 4) interrupt();
    };
    // One after another: else the path that all others need may be the last of the first.
    const { store, run } = await publishUntil(paths, interruptAtFourth, { workers: 1 });
    const { stopped, pushed, missing } = stoppedOf(run);
    expect(stopped).toMatchObject({ isInterrupted: true, cause: { code: 'ERR_INTERRUPTED' } });
    expect(pushed.length).toBeGreaterThan(0);
    expect(missing.length).toBeGreaterThan(0);
    await expectTruth(store, paths, run);
    const again = await publishAt(store, paths, last(paths), AT);
    expect(again.result.plan.push.map(({ path }) => path)).toEqual(missing.map(({ path }) => path));
    expect(again.result.outcome?.stopped).toBeUndefined();
    const reader = await expectServed(store, paths.infos);
    expect(await rootsOf(store, reader)).toEqual(['p-29']);
  });

  it('tells the truth wherever it is interrupted, whatever a manifest takes', async () => {
    const paths = await chain(6);
    for (const maxLayers of [1000, 4]) {
      let isDone = false;
      for (let at = 1; !isDone; at++) {
        let calls = 0;
        const count = (_method: StoreMethod, _args: readonly unknown[], interrupt: () => void): void => {
          if (++calls === at) interrupt();
        };
        const outcome = await publishUntil(paths, count, { maxLayers }).catch((error: unknown) => error);
        if (outcome instanceof Error) {
          expect(outcome).toMatchObject({ code: 'ERR_INTERRUPTED' }); // before there was anything to push
          continue;
        }
        const { store, run } = outcome as Awaited<ReturnType<typeof publishUntil>>;
        if (stoppedOf(run).stopped) await expectTruth(store, paths, run);
        else await expectServed(store, paths.infos);
        isDone = calls < at;
        if (isDone) expect(at).toBeGreaterThan(8);
      }
    }
  });

  it('gives up an upload that does not end, with what needs it, and commits the others', async () => {
    const paths = new LocalPaths(await tempDir());
    const large = await paths.add('large', { f: randomBytes(LARGE_BYTES) });
    const above = await paths.add('above', { f: 'above' }, [large]);
    const others: PathInfo[] = [];
    for (let i = 0; i < 12; i++) others.push(await paths.add(`small-${i}`, { f: `${i}` }, others.slice(-1)));
    await paths.add('top', { f: 'top' }, [above, ...others]);
    let smallDone = 0;
    const controller = new AbortController();
    const store = new MemoryStore({
      onCall: (method, [target, , call]) => {
        if (method !== 'pushBlob' || (target as Descriptor).size < LARGE_BYTES) return;
        const { signal } = call as { readonly signal: AbortSignal };
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    });
    const run = await publishAt(store, paths, last(paths), AT, {
      ...{ signal: controller.signal, stopLimits: { ...LIMITS, interrupt: { ...PATIENT, uploadMs: 50 } } },
      onEvent: (event) => {
        if (event.type !== 'path-done' || !event.path.includes('-small-')) return;
        if (++smallDone === others.length) controller.abort();
      },
    });
    const { pushed, missing } = stoppedOf(run);
    expect(missing.map(({ path }) => path.slice(44)).sort()).toEqual(['above', 'large', 'top']);
    expect(pushed.length).toBe(others.length);
    await expectTruth(store, paths, run);
  });

  it('ends in time with nothing where the store answers nothing any more', async () => {
    const paths = await chain(6);
    const hangs = (call: unknown): Promise<void> => {
      const { signal } = call as { readonly signal: AbortSignal };
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    const limits = { interrupt: { uploadMs: 10, endMs: 50 }, failure: PATIENT };
    const { run } = await publishUntil(
      paths,
      (method, args, interrupt) => {
        if (method !== 'pushBlob') return;
        interrupt();
        return hangs(args[2]);
      },
      { stopLimits: limits },
    );
    expect(stoppedOf(run)).toMatchObject({ pushed: [], segments: [], stopped: { isInterrupted: true } });
    expect(stoppedOf(run).missing.length).toBe(6);
  });

  it('is done, roots and all, where everything was on its way already', async () => {
    const paths = await chain(6);
    const { store, run } = await publishUntil(paths, (method, args, interrupt) => {
      if (isSegment(method, args)) interrupt();
    });
    expect(run.result.outcome?.stopped).toBeUndefined();
    expect(await rootsOf(store, await expectServed(store, paths.infos))).toEqual(['p-5']);
  });

  it('takes its files out of a layout', async () => {
    const paths = await chain(12);
    const path = join(await tempDir(), 'layout');
    const store = await LayoutStore.open(path, { create: true });
    const controller = new AbortController();
    const run = await publishAt(store, paths, last(paths), AT, {
      ...{ signal: controller.signal, stopLimits: LIMITS },
      onEvent: ({ type }) => void (type === 'uploaded' && controller.abort()),
    });
    await expectTruth(store, paths, run);
    expect(await readdir(join(path, '.ingest')).catch(() => [])).toEqual([]);
  });
});

describe('a push that fails half-way', () => {
  it('commits what is stored when the store refuses one blob, and says what is missing', async () => {
    const paths = new LocalPaths(await tempDir());
    const base = await paths.add('base', { f: randomBytes(100_000) });
    const large = await paths.add('large', { f: randomBytes(LARGE_BYTES) }, [base]);
    await paths.add('top', { f: 'top' }, [large]);
    const refused = new NixcacheError('ERR_REGISTRY', 'push: 413 too large');
    const { store, run } = await publishUntil(paths, (method, [target]) => {
      if (method === 'pushBlob' && (target as Descriptor).size >= LARGE_BYTES) throw refused;
    });
    const { stopped, pushed, missing } = stoppedOf(run);
    expect(stopped).toMatchObject({ isInterrupted: false, cause: refused });
    expect(pushed).toEqual([base]);
    expect(missing.map(({ path }) => path.slice(44))).toEqual(['large', 'top']);
    await expectTruth(store, paths, run);
  });

  it('keeps what it committed when the registry goes away, and the next run uploads only the rest', async () => {
    const paths = await chain(30);
    let commits = 0;
    const { store, run } = await publishUntil(
      paths,
      (method, args) => {
        if (isSegment(method, args) && ++commits >= 2) throw new NixcacheError('ERR_NETWORK', 'the registry went away');
      },
      { maxLayers: 6 },
    );
    const { pushed, segments, stopped } = stoppedOf(run);
    expect(segments.length).toBe(1);
    expect(pushed.length).toBe(segments[0]?.entries);
    expect(stopped).toMatchObject({ isInterrupted: false, cause: { code: 'ERR_NETWORK' } });
    await expectTruth(store, paths, run);
    const again = await publishAt(store, paths, last(paths), AT);
    expect(again.result.outcome?.existedBytes).toBeGreaterThan(0);
    await expectServed(store, paths.infos);
  });

  it('records no root after a last commit that failed, for what that relied on was looked at before', async () => {
    const paths = await chain(10);
    let commits = 0;
    const { store, run } = await publishUntil(paths, (method, args) => {
      if (isSegment(method, args) && ++commits === 1) throw new NixcacheError('ERR_NETWORK', 'reset');
    });
    expect(stoppedOf(run)).toMatchObject({ missing: [], stopped: { isInterrupted: false } });
    await expectTruth(store, paths, run);
  });

  it('does not pass for done where it had still to sign what the cache has', async () => {
    const paths = await chain(6);
    const key = parseSecretKey(generateKey('test-1').secret);
    const store = new MemoryStore({ maxLayers: 4 });
    await publishAt(store, paths, last(paths), AT);
    let commits = 0;
    const failing = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (name !== 'pushManifest' || ++commits > 1) return typeof value === 'function' ? value.bind(target) : value;
        return () => Promise.reject(new NixcacheError('ERR_NETWORK', 'reset'));
      },
    });
    const run = await publishAt(failing, paths, last(paths), AT, { keys: [key], stopLimits: LIMITS });
    expect(stoppedOf(run)).toMatchObject({ pushed: [], missing: [], stopped: { cause: { code: 'ERR_NETWORK' } } });
    const again = await publishAt(store, paths, last(paths), AT, { keys: [key] });
    expect(run.result.signed.length + again.result.signed.length).toBe(6);
  });

  it('never takes a bug of ours for a failure that is over', async () => {
    const paths = await chain(4);
    let commits = 0;
    const { run } = await publishUntil(paths, (method, args) => {
      if (isSegment(method, args) && ++commits === 1) throw new TypeError('nobody thought of this');
    });
    expect(stoppedOf(run)).toMatchObject({ missing: [], stopped: { cause: expect.any(TypeError) } });
  });

  it('leaves out what was in a pack that the store refused, with what needs it', async () => {
    const paths = await chain(12);
    let packs = 0;
    const { store, run } = await publishUntil(paths, (method, [target]) => {
      const isPack = method === 'pushBlob' && (target as Descriptor).mediaType.includes('pack');
      if (isPack && ++packs === 1) throw new NixcacheError('ERR_FORBIDDEN', 'push: 403 denied');
    });
    // The first NAR has a blob of its own, and its listing is in that pack.
    expect(stoppedOf(run)).toMatchObject({ pushed: [], stopped: { cause: { code: 'ERR_FORBIDDEN' } } });
    await expectTruth(store, paths, run);
  });
});

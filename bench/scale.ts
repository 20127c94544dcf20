import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import * as z from 'zod/mini';
import { ensureNewPaths, NEW_PATHS, type NewPaths } from './scale/new-paths.ts';
import { fillRegistry } from './scale/registry-storage.ts';
import { ensureSyntheticCache, type SyntheticCache } from './scale/synthetic-cache.ts';
import { hashPartAt } from './scale/synthetic-entries.ts';
import { openKeepAliveClient } from './support/keep-alive-client.ts';
import { type LatencyProxy, openLatencyProxy } from './support/latency-proxy.ts';
import { type Measurement, measure } from './support/measure.ts';
import { BIN, openNixcache } from './support/nixcache.ts';
import { startRegistry } from './support/registry.ts';
import { type Goal, type Measured, median, type Report, summarize } from './support/report.ts';
import { type ServeProcess, startServe } from './support/serve-process.ts';

export interface ScaleOptions {
  /** Where made caches are kept. */
  readonly dir: string;
  readonly entries: number;
  readonly runs: number;
  readonly entry?: string | undefined;
  readonly onStep: (step: string) => void;
}

type Run = Measurement & { readonly sizeBytes?: number };

const COLD = 'serve, first answer, nothing on disk';
const WARM = 'serve, first answer, index on disk';
const HITS = 'narinfo hits, one connection';
const MISSES = 'narinfo misses, one connection';
const IDLE = 'refresh, nothing new';
const REFRESH = 'refresh, one new segment';
const EMPTY = `push of ${NEW_PATHS} paths, empty cache`;
const INTO_COLD = `push of ${NEW_PATHS} paths, no index on disk`;
const INTO_WARM = `push of ${NEW_PATHS} paths, index on disk`;
const PLAN = 'gc --dry-run';
const GC = 'gc, with compaction';

const REQUESTS = 10_000;
const MIB = 2 ** 20;
const REPOSITORY = 'bench/nix-cache';

/** What a cache of many entries costs those who read it, write to it and clean it up. */
export async function benchScale(options: ScaleOptions): Promise<Report> {
  const { dir, entries, runs, onStep } = options;
  const loadBefore = loadavg()[0] ?? 0;
  const cache = await ensureSyntheticCache(dir, entries, onStep);
  const newPaths = await ensureNewPaths(dir, onStep);
  const tempDir = await mkdtemp(join(tmpdir(), 'nixcache-bench-'));
  try {
    const secretKeyFile = join(tempDir, 'secret-key');
    await execa('nix-store', ['--generate-binary-cache-key', 'bench-1', secretKeyFile, join(tempDir, 'public-key')]);
    const measured = [
      ...(await benchServe(options, cache, join(tempDir, 'serve'))),
      ...(await benchPush(options, { cache, newPaths, tempDir, secretKeyFile })),
      ...(await benchGc(options, cache, tempDir)),
    ];
    return {
      suite: 'scale',
      conditions: {
        cache: `${entries} entries`,
        cores: `${cpus().length}, ${cpus()[0]?.model.trim() ?? 'unknown'}`,
        node: process.version,
        runs,
        'load before': loadBefore.toFixed(2),
        'load after': (loadavg()[0] ?? 0).toFixed(2),
      },
      measured,
      goals: compare(measured, entries),
    };
  } finally {
    await rm(tempDir, { recursive: true, force: true });
  }
}

async function benchServe(
  { runs, entry = BIN, onStep }: ScaleOptions,
  cache: SyntheticCache,
  home: string,
): Promise<readonly Measured[]> {
  await mkdir(home);
  const env = { HOME: home, XDG_CACHE_HOME: join(home, 'cache') };
  const start = () => startServe(entry, ['--cache', `oci:${cache.path}`], env);
  onStep(COLD);
  const cold = await firstAnswer(await start(), { settle: false });
  const warm: Run[] = [];
  for (let round = 0; round < runs; round++) {
    onStep(WARM);
    warm.push(await firstAnswer(await start(), { settle: true }));
  }
  onStep(HITS);
  const server = await start();
  try {
    // Entries all over the cache, each once: nothing comes from the answers that serve keeps ready.
    const hits = await askAll(server, (n) => hashPartAt((n * 7919) % cache.entries), 200);
    const misses = await askAll(server, (n) => hashPartAt(cache.entries + n), 404);
    const note = `${server.readUsage().openFiles} open files`;
    return [
      summarize(COLD, [cold]),
      { ...summarize(WARM, warm), note },
      { ...summarize(HITS, [hits]), note: `${Math.round((REQUESTS * 1000) / hits.wallMs)}/s` },
      { ...summarize(MISSES, [misses]), note: `${Math.round((REQUESTS * 1000) / misses.wallMs)}/s` },
    ];
  } finally {
    await server.stop();
  }
}

/** Ends `server`; times are up to the first hit, memory is what it holds when the first refresh is over too. */
async function firstAnswer(server: ServeProcess, { settle }: { readonly settle: boolean }): Promise<Run> {
  try {
    const client = await openKeepAliveClient(server.url);
    while ((await client.fetchStatus(`/${hashPartAt(0)}.narinfo`)) !== 200) await delay(5);
    const wallMs = performance.now() - server.startedAt;
    const { cpuMs } = server.readUsage();
    client.close();
    await refresh(server);
    if (settle) await delay(1000);
    const { rssBytes, peakRssBytes } = server.readUsage();
    return { wallMs, cpuMs, peakRssBytes: settle ? rssBytes : peakRssBytes, stdout: '' };
  } finally {
    await server.stop();
  }
}

async function askAll(server: ServeProcess, hashPart: (n: number) => string, status: number): Promise<Run> {
  const client = await openKeepAliveClient(server.url);
  const before = server.readUsage();
  const started = performance.now();
  for (let n = 0; n < REQUESTS; n++) {
    const got = await client.fetchStatus(`/${hashPart(n)}.narinfo`);
    if (got !== status) throw new Error(`narinfo ${hashPart(n)}: ${got}, not ${status}`);
  }
  const wallMs = performance.now() - started;
  client.close();
  const after = server.readUsage();
  return { wallMs, cpuMs: after.cpuMs - before.cpuMs, peakRssBytes: after.peakRssBytes, stdout: '' };
}

const refreshSchema = z.object({ refreshed: z.literal(true), addedSegments: z.number() });

async function refresh(server: ServeProcess): Promise<{ readonly addedSegments: number }> {
  const answer = await fetch(`${server.url}/_refresh`, { method: 'POST' });
  return refreshSchema.parse(await answer.json());
}

async function benchPush(
  { runs, entry = BIN, onStep }: ScaleOptions,
  {
    cache,
    newPaths,
    tempDir,
    secretKeyFile,
  }: {
    readonly cache: SyntheticCache;
    readonly newPaths: NewPaths;
    readonly tempDir: string;
    readonly secretKeyFile: string;
  },
): Promise<readonly Measured[]> {
  const results = new Map<string, Run[]>();
  for (let round = 0; round < runs; round++) {
    const home = (user: string): string => join(tempDir, `push-${round}`, user);
    const open = (user: string) => openNixcache({ entry, storeRoot: newPaths.root, home: home(user), secretKeyFile });
    const record = async (name: string, line: LatencyProxy, run: () => Promise<Run>): Promise<void> => {
      onStep(name);
      const before = line.counts.bytesUp + line.counts.bytesDown;
      const measurement = await run();
      const sizeBytes = line.counts.bytesUp + line.counts.bytesDown - before;
      results.set(name, [...(results.get(name) ?? []), { ...measurement, sizeBytes }]);
    };
    const registry = await startRegistry((storageDir) => fillRegistry(storageDir, cache.path, REPOSITORY));
    const line = await openLatencyProxy(registry.address, 0);
    const cacheOf = (name: string): string => `${line.address}/${name}`;
    try {
      const writer = await open('writer');
      await record(EMPTY, line, async () => (await open('empty')).push(newPaths.a, cacheOf('bench/empty')));
      await record(INTO_COLD, line, () => writer.push(newPaths.a, cacheOf(REPOSITORY)));
      const serveHome = home('serve');
      await mkdir(serveHome);
      const server = await startServe(entry, ['--cache', cacheOf(REPOSITORY)], {
        HOME: serveHome,
        XDG_CACHE_HOME: join(serveHome, 'cache'),
      });
      try {
        await refresh(server);
        await record(IDLE, line, () => timeRefresh(server, 0));
        await record(INTO_WARM, line, () => writer.push(newPaths.b, cacheOf(REPOSITORY)));
        await record(REFRESH, line, () => timeRefresh(server, 1));
      } finally {
        await server.stop();
      }
    } finally {
      await line.close();
      await registry.stop();
    }
  }
  return [...results].map(([name, all]) => summarize(name, all));
}

async function timeRefresh(server: ServeProcess, segments: number): Promise<Run> {
  const before = server.readUsage();
  const started = performance.now();
  const { addedSegments } = await refresh(server);
  const wallMs = performance.now() - started;
  if (addedSegments !== segments) throw new Error(`the refresh found ${addedSegments} segments, not ${segments}`);
  const after = server.readUsage();
  return { wallMs, cpuMs: after.cpuMs - before.cpuMs, peakRssBytes: after.peakRssBytes, stdout: '' };
}

async function benchGc(
  { runs, entry = BIN, onStep }: ScaleOptions,
  cache: SyntheticCache,
  tempDir: string,
): Promise<readonly Measured[]> {
  const home = join(tempDir, 'gc-home');
  await mkdir(home);
  const env = { HOME: home, XDG_CACHE_HOME: join(home, 'cache'), GITHUB_ACTIONS: '' };
  const gc = (layout: string, ...more: readonly string[]): Promise<Run> =>
    measure(
      {
        file: process.execPath,
        args: [entry, 'gc', '--cache', `oci:${layout}`, '--retain', '30d', '--quiet', ...more],
      },
      { env },
    );
  const plans: Run[] = [];
  const collections: Run[] = [];
  for (let round = 0; round < runs; round++) {
    const layout = join(tempDir, 'gc-layout');
    // Blobs are never changed in place, so links do for a copy.
    await execa('cp', ['--archive', '--link', cache.path, layout]);
    onStep(PLAN);
    plans.push(await gc(layout, '--dry-run'));
    onStep(GC);
    collections.push(await gc(layout));
    await rm(layout, { recursive: true });
  }
  return [summarize(PLAN, plans), summarize(GC, collections)];
}

/** Product goals by number of entries; between them none is set. */
const START_GOALS: Readonly<Record<number, { readonly seconds: number; readonly mebibytes: number }>> = {
  100000: { seconds: 0.3, mebibytes: 120 },
  1000000: { seconds: 1, mebibytes: 300 },
};

function compare(measured: readonly Measured[], entries: number): readonly Goal[] {
  const of = (name: string): Measured => {
    const found = measured.find((each) => each.name === name);
    if (!found) throw new Error(`${name} was not measured`);
    return found;
  };
  const start = START_GOALS[entries];
  const warm = of(WARM);
  const against = (name: string): readonly Goal[] => [
    { name: `${name} / ${EMPTY}, time`, ratio: median(ratios(of(name).runsMs, of(EMPTY).runsMs)), atMost: 1.5 },
    { name: `${name} / ${EMPTY}, bytes`, ratio: (of(name).sizeBytes ?? 0) / (of(EMPTY).sizeBytes ?? 0), atMost: 1.5 },
  ];
  return [
    ...(start === undefined
      ? []
      : [
          { name: `${WARM}, time`, ratio: warm.wallMs / 1000, unit: 's', atMost: start.seconds },
          { name: `${WARM}, memory`, ratio: (warm.peakRssBytes ?? 0) / MIB, unit: 'MiB', atMost: start.mebibytes },
        ]),
    ...against(INTO_COLD),
    ...against(INTO_WARM),
  ];
}

const ratios = (ours: readonly number[], theirs: readonly number[]): readonly number[] =>
  ours.map((ms, round) => ms / (theirs[round] ?? Number.NaN));

import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Closure } from './closure/closure.ts';
import { directorySize } from './support/directory-size.ts';
import { openLatencyProxy } from './support/latency-proxy.ts';
import type { Measurement } from './support/measure.ts';
import { ensureNewerNix, openRival, type Rival } from './support/nix-rival.ts';
import { openNixcache } from './support/nixcache.ts';
import { startRegistry } from './support/registry.ts';
import { type Goal, type Measured, median, type Report, summarize } from './support/report.ts';
import { settled } from './support/settled.ts';
import { inStore } from './support/store-namespace.ts';

export interface PublishOptions {
  readonly closure: Closure;
  readonly runs: number;
  /** Measure only what we compare with. */
  readonly baseline: boolean;
  /** As in NixcacheOptions. */
  readonly entry?: string | undefined;
  /** Called with one line before each step. */
  readonly onStep: (step: string) => void;
}

type Run = Measurement & { readonly sizeBytes?: number };

/** The line of the third row in the product's table of goals. */
const ROUND_TRIP_MS = 50;
/** Of a client that does one thing after another: ask whether it is there, open an upload, send it. */
const STAGES = 3;

const OLD_NIX = 'nix copy (2.8)';
const NEW_NIX = 'nix copy (2.34)';
const LAYOUT = 'push to oci:';
const REGISTRY = 'push to docker-registry';
const again = (name: string): string => `${name}, nothing changed`;
const TINY = `push of 400 tiny paths, ${ROUND_TRIP_MS} ms`;

/**
 * Publishing, against `nix copy` into a directory with the same compression. Each round does all of them once, so that
 * what else the machine does meanwhile meets all alike; each starts from nothing, with the closure in the page cache.
 */
export async function benchPublish(options: PublishOptions): Promise<Report> {
  const { closure, runs, baseline, onStep } = options;
  const loadBefore = loadavg()[0];
  const tempDir = await mkdtemp(join(tmpdir(), 'nixcache-bench-'));
  try {
    const secretKeyFile = join(tempDir, 'secret-key');
    await execa('nix-store', ['--generate-binary-cache-key', 'bench-1', secretKeyFile, join(tempDir, 'public-key')]);
    const shared = { storeRoot: closure.root, tempDir, secretKeyFile };
    const rivals = {
      [OLD_NIX]: await openRival({ ...shared, program: 'nix' }),
      [NEW_NIX]: await openRival({ ...shared, program: await ensureNewerNix() }),
    };
    onStep('reading the closure once');
    await readOnce(closure);
    const results = new Map<string, Run[]>();
    for (let round = 0; round < runs; round += 1) {
      const measured = {
        ...(await runRivals(rivals, closure, onStep)),
        ...(baseline ? {} : await runOurs(options, shared)),
      };
      for (const [name, run] of Object.entries(measured)) results.set(name, [...(results.get(name) ?? []), run]);
    }
    const measured = [...results].map(([name, all]) => summarize(name, all));
    return {
      suite: 'publish',
      conditions: { ...describe(closure, rivals), 'load before': (loadBefore ?? 0).toFixed(2) },
      measured,
      goals: compare(measured, closure),
    };
  } finally {
    await rm(tempDir, { recursive: true, force: true });
  }
}

async function runRivals(
  rivals: Readonly<Record<string, Rival>>,
  closure: Closure,
  onStep: (step: string) => void,
): Promise<Record<string, Run>> {
  const results: Record<string, Run> = {};
  for (const [name, rival] of Object.entries(rivals)) {
    onStep(name);
    results[name] = await settled(() => rival.copy(closure.top));
  }
  return results;
}

async function runOurs(
  { closure, entry, onStep }: PublishOptions,
  {
    storeRoot,
    tempDir,
    secretKeyFile,
  }: { readonly storeRoot: string; readonly tempDir: string; readonly secretKeyFile: string },
): Promise<Record<string, Run>> {
  const dir = await mkdtemp(join(tempDir, 'ours-'));
  const open = (user: string) => openNixcache({ entry, storeRoot, home: join(dir, user), secretKeyFile });
  const results: Record<string, Run> = {};
  const twice = async (name: string, user: string, to: string, written: string): Promise<void> => {
    const nixcache = await open(user);
    onStep(name);
    const first = await settled(() => nixcache.push([closure.top], to));
    results[name] = { ...first, sizeBytes: await directorySize(written) };
    results[again(name)] = await settled(() => nixcache.push([closure.top], to));
  };
  try {
    const layout = join(dir, 'layout');
    await twice(LAYOUT, 'layout-user', `oci:${layout}`, layout);
    await rm(layout, { recursive: true });
    const registry = await startRegistry();
    try {
      await twice(REGISTRY, 'registry-user', `${registry.address}/bench/nix-cache`, registry.storageDir);
      const line = await openLatencyProxy(registry.address, ROUND_TRIP_MS);
      try {
        onStep(TINY);
        const nixcache = await open('tiny-user');
        results[TINY] = await settled(() => nixcache.push(closure.tiny, `${line.address}/tiny/nix-cache`));
        onStep(`${TINY}: ${line.counts.connections} connections, ${line.counts.bytesUp} bytes up`);
      } finally {
        await line.close();
      }
    } finally {
      await registry.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  return results;
}

async function readOnce({ root, top }: Closure): Promise<void> {
  const script = 'nix-store --query --requisites "$0" | xargs sh -c \'find "$@" -type f -exec cat {} +\' sh';
  const { file, args } = inStore(root, { file: 'sh', args: ['-c', script, top] });
  await execa(file, args, { stdout: 'ignore' });
}

/**
 * The goals, as ratios. Times are compared within a round and the median of those ratios is taken: a slow minute of the
 * machine then slows both sides of a ratio.
 */
function compare(measured: readonly Measured[], { tiny }: Closure): readonly Goal[] {
  const of = new Map(measured.map((entry) => [entry.name, entry]));
  const time = (ours: string, theirs: string, atMost: number): readonly Goal[] => {
    const [a, b] = [of.get(ours)?.runsMs ?? [], of.get(theirs)?.runsMs ?? []];
    const ratios = a.map((ms, round) => ms / (b[round] ?? Number.NaN));
    return ratios.length === 0 ? [] : [{ name: `${ours} / ${theirs}`, ratio: median(ratios), atMost }];
  };
  const size = (ours: string, theirs: string): readonly Goal[] => {
    const [a, b] = [of.get(ours)?.sizeBytes, of.get(theirs)?.sizeBytes];
    return a === undefined || b === undefined ? [] : [{ name: `${ours} / ${theirs}, size`, ratio: a / b, atMost: 1 }];
  };
  const name = `${TINY} / one round trip for each path and each of ${STAGES} stages`;
  const tinyRuns = of.get(TINY)?.runsMs ?? [];
  const naiveMs = tiny.length * STAGES * ROUND_TRIP_MS;
  return [
    ...time(LAYOUT, OLD_NIX, 0.55),
    ...time(LAYOUT, NEW_NIX, 0.85),
    ...time(REGISTRY, NEW_NIX, 1.5),
    ...[LAYOUT, REGISTRY].flatMap((ours) => [
      ...size(ours, OLD_NIX),
      ...size(ours, NEW_NIX),
      ...time(again(ours), ours, 0.05),
    ]),
    ...(tinyRuns.length === 0 ? [] : [{ name, ratio: median(tinyRuns) / naiveMs, atMost: 0.1 }]),
  ];
}

function describe({ pathCount, narBytes }: Closure, rivals: Readonly<Record<string, Rival>>): Report['conditions'] {
  return {
    closure: `${pathCount} paths, ${(narBytes / 2 ** 30).toFixed(2)} GiB of NARs`,
    cores: `${cpus().length}, ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    node: process.version,
    ...Object.fromEntries(Object.entries(rivals).map(([name, { version }]) => [name, version])),
  };
}

import { randomFillSync } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import type { Closure } from './closure/closure.ts';
import type { Measurement } from './support/measure.ts';
import { openNixcache } from './support/nixcache.ts';
import { startRegistry } from './support/registry.ts';
import { type Report, summarize } from './support/report.ts';
import { inStore } from './support/store-namespace.ts';

export interface LargeOptions {
  readonly closure: Closure;
  readonly runs: number;
  /** As in NixcacheOptions. */
  readonly entry?: string | undefined;
  /** Called with one line before each step. */
  readonly onStep: (step: string) => void;
}

const MIB = 2 ** 20;
const COUNT = 3;
const SIZE_BYTES = 700 * MIB;
const ROW = `push of ${COUNT} NARs of ${SIZE_BYTES / MIB} MiB to docker-registry`;
/** Memory does not grow with NAR sizes; this is what it may be. */
const MAX_PEAK_MIB = 300;

/** Memory of a push of large NARs that do not compress. */
export async function benchLarge({ closure, runs, entry, onStep }: LargeOptions): Promise<Report> {
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-bench-large-'));
  const results: Measurement[] = [];
  const paths: string[] = [];
  const store = (program: string, args: readonly string[]): ReturnType<typeof execa> => {
    const command = inStore(closure.root, { file: program, args });
    return execa(command.file, command.args);
  };
  try {
    const secretKeyFile = join(dir, 'secret-key');
    await execa('nix-store', ['--generate-binary-cache-key', 'bench-1', secretKeyFile, join(dir, 'public-key')]);
    for (let i = 0; i < COUNT; i += 1) {
      onStep(`making path ${i + 1} of ${COUNT}`);
      const file = join(dir, `random-${i}`);
      await pipeline(Readable.from(randomBytes(SIZE_BYTES)), createWriteStream(file));
      paths.push(String((await store('nix-store', ['--add', file])).stdout).trim());
      await rm(file);
    }
    for (let round = 0; round < runs; round += 1) {
      onStep(`${ROW}, round ${round + 1}`);
      const registry = await startRegistry();
      const home = await mkdtemp(join(dir, 'home-'));
      try {
        const nixcache = await openNixcache({ entry, storeRoot: closure.root, home, secretKeyFile });
        results.push(await nixcache.push(paths, `${registry.address}/large/nix-cache`));
      } finally {
        await registry.stop();
      }
    }
    const measured = summarize(ROW, results);
    const ratio = (measured.peakRssBytes ?? 0) / MIB;
    return {
      suite: 'large',
      conditions: { node: process.version },
      measured: [measured],
      goals: [{ name: `${ROW}, peak memory`, ratio, unit: 'MiB', atMost: MAX_PEAK_MIB }],
    };
  } finally {
    if (paths.length > 0) await store('nix-store', ['--delete', ...paths]);
    await rm(dir, { recursive: true, force: true });
  }
}

function* randomBytes(size: number): Generator<Buffer> {
  for (let left = size; left > 0; left -= MIB) yield randomFillSync(Buffer.allocUnsafe(Math.min(left, MIB)));
}

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { readTreeMemory } from './process-tree.ts';
import type { Command } from './store-namespace.ts';

/** What one run of a command took, with all the processes it started. */
export interface Measurement {
  readonly wallMs: number;
  /** User and system time of the command and of every descendant that was waited for; in steps of 10 ms. */
  readonly cpuMs: number;
  /** Resident memory of all its processes at the worst moment seen; pages they share count in each. */
  readonly peakRssBytes: number;
  readonly stdout: string;
}

export interface MeasureOptions {
  readonly input?: string;
  /** On top of our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

const SAMPLE_EVERY_MS = 40;

/**
 * Runs `command` to its end.
 *
 * @throws {Error} with what it wrote to stderr, unless it exits with 0
 */
export async function measure(command: Command, options: MeasureOptions = {}): Promise<Measurement> {
  const { input = '', env = {}, timeoutMs = 30 * 60_000 } = options;
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-measure-'));
  const timesFile = join(dir, 'times');
  // POSIX `times` writes two lines: the shell's own user and system time, and its children's.
  // The clock is read beside the command: our own way to it takes as long as a quarter of a short command.
  const script =
    'times=$1; shift; from=$(date +%s%N); "$@"; status=$?; to=$(date +%s%N); { times; echo "$from $to"; } > "$times"; exit $status';
  let peakRssBytes = 0;
  try {
    const child = execa('sh', ['-c', script, 'sh', timesFile, command.file, ...command.args], {
      input,
      env,
      timeout: timeoutMs,
    });
    const sampler = setInterval(() => {
      if (child.pid === undefined) return;
      const { rssBytes, peakOfOneBytes } = readTreeMemory(child.pid);
      peakRssBytes = Math.max(peakRssBytes, rssBytes, peakOfOneBytes);
    }, SAMPLE_EVERY_MS);
    const { stdout } = await child.finally(() => clearInterval(sampler));
    const text = await readFile(timesFile, 'utf8');
    return { wallMs: wallMs(text), cpuMs: childrenMs(text), peakRssBytes, stdout };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Between the two times of the last line, in nanoseconds. */
function wallMs(times: string): number {
  const [from = Number.NaN, to = Number.NaN] = (times.trim().split('\n').at(-1) ?? '').split(' ').map(Number);
  return (to - from) / 1e6;
}

/** `0m0.00s 0m0.00s\n0m1.23s 0m4.56s` → 5790 */
function childrenMs(times: string): number {
  const fields = [...(times.trim().split('\n')[1] ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  return fields.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1000, 0);
}

import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { execa } from 'execa';

/** A process of ours that serves, from its start on. */
export interface ServeProcess {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** `performance.now()` when it was started. */
  readonly startedAt: number;
  readUsage(): ServeUsage;
  stop(): Promise<void>;
}

interface ServeUsage {
  /** User and system time since its start, in steps of 10 ms. */
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  readonly openFiles: number;
}

const LISTENS_WITHIN_MS = 5 * 60_000;
/** USER_HZ of every Linux there is. */
const TICK_MS = 10;

/** @throws {Error} with what it wrote to stderr, unless it says where it listens */
export async function startServe(
  entry: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ServeProcess> {
  const startedAt = performance.now();
  const child = execa(process.execPath, [entry, 'serve', ...args, '--port', '0', '--no-upstream'], {
    env: { ...env, GITHUB_ACTIONS: '' },
    stdin: 'ignore',
    buffer: { stdout: false },
    reject: false,
    forceKillAfterDelay: 5000,
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await child;
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), LISTENS_WITHIN_MS);
  let url: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    url = line;
    break;
  }
  clearTimeout(timer);
  const { pid } = child;
  if (url === undefined || pid === undefined) {
    await stop();
    throw new Error(`nixcache serve did not start: ${(await child).stderr}`);
  }
  return { url, startedAt, readUsage: () => readUsage(pid), stop };
}

function readUsage(pid: number): ServeUsage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) * 1024;
  // Behind the name in parentheses: state, then 10 more, then utime and stime; man 5 proc.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  return {
    cpuMs: ticks * TICK_MS,
    rssBytes: kib('VmRSS'),
    peakRssBytes: kib('VmHWM'),
    openFiles: readdirSync(`/proc/${pid}/fd`).length,
  };
}

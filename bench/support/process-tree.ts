import { readdirSync, readFileSync } from 'node:fs';

/** Memory of a process and of all its descendants now, from Linux's /proc. */
export interface TreeMemory {
  /** Sum over the processes. */
  readonly rssBytes: number;
  /** The largest that any one of them has ever been (VmHWM): catches peaks between two samples. */
  readonly peakOfOneBytes: number;
}

/** Processes that end while we look count as nothing. */
export function readTreeMemory(root: number): TreeMemory {
  let rssBytes = 0;
  let peakOfOneBytes = 0;
  const queue = [root];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    queue.push(...readChildren(pid));
    const status = unlessGone(() => readFileSync(`/proc/${pid}/status`, 'utf8')) ?? '';
    rssBytes += readKib(status, 'VmRSS');
    peakOfOneBytes = Math.max(peakOfOneBytes, readKib(status, 'VmHWM'));
  }
  return { rssBytes, peakOfOneBytes };
}

/** Each thread lists the children that it started. */
function readChildren(pid: number): readonly number[] {
  const threads = unlessGone(() => readdirSync(`/proc/${pid}/task`)) ?? [];
  return threads.flatMap((thread) => {
    const children = unlessGone(() => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')) ?? '';
    return children.split(' ').filter(Boolean).map(Number);
  });
}

const readKib = (status: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;

/** @throws whatever is not "no such file" or "no such process" */
function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
      return undefined;
    throw error;
  }
}

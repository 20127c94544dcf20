/** Which process made a file, so that what one leaves behind that was killed is told from what another is writing. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';

/** `<machine>-<pid>-<start>`; a machine is a boot of one, and a space of process ids on it. */
const OWNER = /^([0-9a-f]{8})-([0-9]+)-([0-9]+)$/;

const MACHINE = machineOf();
export const OWN = `${MACHINE}-${process.pid}-${startOf(process.pid) ?? 0}`;

/** Whether the process is known to have ended; undefined where that cannot be seen from here. */
export function hasEnded(owner: string): boolean | undefined {
  const [, machine, pid, start] = OWNER.exec(owner) ?? [];
  if (machine !== MACHINE) return undefined;
  const started = startOf(Number(pid));
  if (started !== undefined) return String(started) !== start;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function machineOf(): string {
  let where = `${process.hrtime.bigint()}`; // of a kind that cannot be told: no other process is of it
  try {
    where = `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')} ${statSync('/proc/self/ns/pid').ino}`;
  } catch {
    // not on Linux
  }
  return createHash('sha256').update(where).digest('hex').slice(0, 8);
}

/** When it started, in ticks since the boot: process ids are used again. */
function startOf(pid: number): number | undefined {
  try {
    // Behind the name in parentheses, which may hold anything: state, then 18 more; man 5 proc.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ');
    return Number(fields?.[19]);
  } catch {
    return undefined;
  }
}

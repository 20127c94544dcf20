/**
 * Stops a program together with everything that it started.
 *
 * Nix starts git, ssh and remote helpers, so it gets a process group of its own. Stopping means SIGTERM to the group
 * (Nix then releases its locks and kills its builders), and SIGKILL after a grace period.
 */

/** Between one SIGTERM and the next. */
const RETRY_TERM_MS = 500;

/** Process groups that must not outlive us. */
const running = new Set<number>();
process.once('exit', () => {
  for (const group of running) signalGroup(group, 'SIGTERM');
});

/** Stops, when told to, the process group that `pid` leads; undefined when it never started. */
export function groupStopper(pid: number | undefined, killGraceMs: number) {
  let hard: NodeJS.Timeout | undefined;
  let again: NodeJS.Timeout | undefined;
  let stopped = false;
  if (pid !== undefined) running.add(pid);
  return {
    now: (): void => {
      if (stopped) return;
      stopped = true;
      if (pid === undefined) return;
      signalGroup(pid, 'SIGTERM');
      // Nix can miss one that comes just before it starts to wait for a builder (seen with 2.26.3).
      again = setInterval(() => signalGroup(pid, 'SIGTERM'), RETRY_TERM_MS);
      hard = setTimeout(() => signalGroup(pid, 'SIGKILL'), killGraceMs);
    },
    /** Whatever is left of it, without grace. */
    kill: (): void => {
      if (pid === undefined) return;
      running.delete(pid);
      signalGroup(pid, 'SIGKILL');
    },
    stopped: (): boolean => stopped,
    done: (): void => {
      clearInterval(again);
      clearTimeout(hard);
      if (pid !== undefined) running.delete(pid);
    },
  };
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    // Gone already: it ended between the decision and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

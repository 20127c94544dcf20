/** The end of a `publish` or `push` that was interrupted or failed half-way: what is in the cache, and what is missing. */

import type { PublishStage } from '../../../publish/events.ts';
import type { PushOutcome } from '../../../publish/push-paths.ts';
import { formatCount } from '../../../quantity.ts';
import { EXIT, type ExitCode } from '../../exit-codes.ts';
import { reportedError } from '../../failure.ts';
import type { Output } from '../../ui/output.ts';

/** Of more paths the JSON tells. */
const MAX_NAMED = 20;

/** `120 of 350 paths are in the cache` */
export function formatProgressMade({ pushed, failed, stopped }: PushOutcome): string {
  const total = pushed.length + failed.size + (stopped?.missing.length ?? 0);
  if (total === 0) return 'nothing was to be pushed, but no root says yet that it is in use';
  if (pushed.length === 0) return `none of ${formatCount(total, 'path')} is in the cache`;
  if (pushed.length < total) return `${pushed.length} of ${formatCount(total, 'path')} are in the cache`;
  return `${formatCount(total, 'path is', 'paths are')} in the cache, but no root keeps ${total === 1 ? 'it' : 'them'} yet`;
}

/** What is true of an interruption during `stage`, where a push does not tell it itself. */
export function interruptedAt(stage: PublishStage, { builds }: { readonly builds: boolean }): string | undefined {
  if (stage === 'push' || stage === 'commit') return undefined;
  const nothing = `interrupted${stage === 'build' ? ' while building' : ''}: nothing of this run is in the cache yet`;
  const goOn = 'run the same command again to go on';
  return !builds || stage === 'discover'
    ? `${nothing}; ${goOn}`
    : `${nothing}; what was built stays in the local store, and the same command goes on from there`;
}

/** Tells why `outcome` is not all of it, and returns the exit code for that; undefined where it is. Throws what is a bug. */
export function tellStopped(outcome: PushOutcome | undefined, output: Output): ExitCode | undefined {
  const stopped = outcome?.stopped;
  if (!outcome || !stopped) return undefined;
  const { missing, cause, isInterrupted } = stopped;
  for (const { path } of missing.slice(0, MAX_NAMED)) output.info(`not pushed: ${path}`);
  const more = missing.length - MAX_NAMED;
  if (more > 0) output.info(`not pushed: … and ${formatCount(more, 'more path')}; --json names all`);
  const goOn = `${formatProgressMade(outcome)}; run the same command again to go on`;
  if (isInterrupted) {
    output.error(`interrupted: ${goOn}`);
    return EXIT.interrupted;
  }
  const { code, message } = reportedError(cause);
  if (code === 'ERR_BUG') throw cause;
  output.error(message, [goOn]);
  return EXIT.unpublished;
}

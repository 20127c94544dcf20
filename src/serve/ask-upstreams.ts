/** What is asked of upstreams beside narinfos and NARs: in order, with head starts, within one time for all. */
import { withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { CircuitOpenError } from '../upstream/circuit-breaker.ts';
import type { AskOptions } from './answer.ts';
import { firstOf } from './first-of.ts';
import type { ServeEvent } from './serve-options.ts';

export interface AskUpstreamsOptions<U> {
  readonly upstreams: readonly U[];
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

/**
 * The first that `ask` finds for `path`; undefined when no upstream has it. Those that fail are told of.
 *
 * @throws {NixcacheError} when none answers in time; the reason of the signal
 */
export async function askUpstreams<U extends { readonly name: string }, T>(
  { upstreams, headStartMs, timeoutMs, onEvent }: AskUpstreamsOptions<U>,
  path: string,
  ask: (upstream: U, options: AskOptions) => Promise<T | undefined>,
  { signal: outer, via }: AskOptions,
): Promise<T | undefined> {
  if (upstreams.length === 0) return undefined;
  const onFailure = (upstream: U, error: unknown): void => {
    if (error instanceof CircuitOpenError) return; // told when it began
    onEvent({ type: 'upstream-failed', upstream: upstream.name, path, error: messageOf(error) });
  };
  const expired = (): Error => new NixcacheError('ERR_UPSTREAM', `no answer within ${timeoutMs} ms`);
  const askOne = (upstream: U, signal: AbortSignal): Promise<T | undefined> => ask(upstream, { signal, via });
  return await withDeadline(timeoutMs, expired, outer, (signal) =>
    firstOf(upstreams, askOne, { headStartMs, signal, onFailure }),
  );
}

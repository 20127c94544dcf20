/** Several upstreams asked together: what `publish` need not push. */

import pLimit from 'p-limit';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { findSigner } from '../nix/signature.ts';
import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { Upstream } from './upstream.ts';
import type { UpstreamCache } from './upstream-cache.ts';

export interface WhichHaveOptions extends CallOptions {
  /** Requests to one upstream at once; default 64. */
  readonly concurrency?: number | undefined;
  /** At the beginning, and after each path that is settled. */
  readonly onEvent?: ((event: WhichHaveEvent) => void) | undefined;
}

interface WhichHaveEvent {
  readonly asked: number;
  readonly total: number;
}

export interface WhichHaveResult {
  /** URL of the first upstream that has the path. */
  readonly present: ReadonlyMap<HashPart, string>;
  /** Paths that no upstream said to have while one did not answer: neither present nor absent. */
  readonly unknown: ReadonlyMap<HashPart, Error>;
}

/** Enough to fill a link of 100 ms with small answers; one HTTP/1.1 connection each. */
const DEFAULT_CONCURRENCY = 64;

/**
 * Which of `paths` the `upstreams` have. Each path is asked of one upstream after the other until one has it, all paths
 * at once. Only an answer makes a path absent: failures are reported in `unknown`.
 *
 * @throws the reason of `signal`
 */
export async function whichHave(
  paths: readonly Pick<PathInfo, 'path'>[],
  upstreams: readonly Upstream[],
  options: WhichHaveOptions = {},
): Promise<WhichHaveResult> {
  const { concurrency = DEFAULT_CONCURRENCY, signal, onEvent } = options;
  const present = new Map<HashPart, string>();
  const unknown = new Map<HashPart, Error>();
  const queues = upstreams.map((upstream) => ({ upstream, limit: pLimit(concurrency) }));
  let asked = 0;
  const settle = async (path: StorePath): Promise<void> => {
    const hashPart = hashPartOf(path);
    let failure: Error | undefined;
    for (const { upstream, limit } of queues) {
      try {
        if ((await limit(() => upstream.hasNarInfo(hashPart, { signal }))) === path) {
          present.set(hashPart, upstream.name);
          failure = undefined;
          break;
        }
      } catch (error) {
        if (!isNixcacheError(error) || signal?.aborted === true) throw error;
        failure ??= error;
      }
    }
    if (failure !== undefined) unknown.set(hashPart, failure);
    asked += 1;
    onEvent?.({ asked, total: paths.length });
  };
  if (paths.length > 0) onEvent?.({ asked, total: paths.length });
  try {
    await Promise.all(paths.map(({ path }) => settle(path)));
  } finally {
    for (const { limit } of queues) limit.clearQueue();
  }
  return { present, unknown };
}

/** The first of `upstreams` whose key signed `info`: it has, or had, the path, and no request is needed to know. */
export function signedByUpstream(
  info: PathInfo,
  upstreams: readonly Pick<UpstreamCache, 'url' | 'publicKeys'>[],
): string | undefined {
  return upstreams.find(({ publicKeys }) => findSigner(info, publicKeys) !== undefined)?.url;
}

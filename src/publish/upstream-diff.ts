/** Which paths upstream caches have already: by signature where that says it, else by asking. */
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { signedByUpstream, whichHave } from '../upstream/upstream-set.ts';
import type { OnPublishEvent } from './events.ts';

export interface UpstreamDiff {
  readonly upstreamOf: ReadonlyMap<HashPart, string>;
  readonly unknown: ReadonlyMap<HashPart, Error>;
}

export interface UpstreamDiffOptions extends CallOptions {
  readonly upstreams: readonly Upstream[];
  /** `push` takes a path nobody could be asked about for absent, loudly; `fail` stops. */
  readonly onUpstreamFailure: 'push' | 'fail';
  readonly onEvent: OnPublishEvent;
}

/** @throws {NixcacheError} ERR_UPSTREAM when an upstream did not answer and `onUpstreamFailure` is `fail` */
export async function diffUpstream(infos: readonly PathInfo[], options: UpstreamDiffOptions): Promise<UpstreamDiff> {
  const { upstreams, onEvent, signal } = options;
  const upstreamOf = new Map<HashPart, string>();
  if (upstreams.length === 0) return { upstreamOf, unknown: new Map() };
  const caches = upstreams.map(({ cache }) => cache);
  const open: PathInfo[] = [];
  for (const info of infos) {
    const url = signedByUpstream(info, caches);
    if (url === undefined) open.push(info);
    else upstreamOf.set(hashPartOf(info.path), url);
  }
  const { present, unknown } = await whichHave(open, upstreams, {
    signal,
    onEvent: ({ asked, total }) => onEvent({ type: 'upstream-asked', done: asked, total }),
  });
  for (const [hashPart, url] of present) upstreamOf.set(hashPart, url);
  const [first] = unknown.values();
  if (first) {
    const what = `${unknown.size} of ${infos.length} paths could not be looked up upstream (${first.message})`;
    if (options.onUpstreamFailure === 'fail') {
      throw new NixcacheError(
        'ERR_UPSTREAM',
        `${what}: nothing was published; try again, or --on-upstream-failure push`,
        { cause: first },
      );
    }
    onEvent({
      type: 'warning',
      message: `${what}: they are published as if upstream lacked them; use --no-upstream if that cache does not matter`,
    });
  }
  return { upstreamOf, unknown };
}

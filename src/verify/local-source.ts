/** The local Nix store as a repair needs it. The command line builds it on `publish`, which verify does not know. */
import type { CallOptions } from '../call-options.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { BaseName, StorePath } from '../nix/store-path.ts';

interface PushRequest extends CallOptions {
  /** References first, with the signatures they are to keep. */
  readonly infos: readonly PathInfo[];
  /** Compression that must not be used: it would make the very bytes that lie damaged in the cache, and may not be replaced. */
  readonly unlike?: string | undefined;
}

export interface LocalSource {
  /** Whether what is pushed will be signed by a key of ours. */
  readonly signs: boolean;
  /** Infos of those among `paths` that are valid. */
  queryValid(paths: readonly StorePath[], options: CallOptions): Promise<readonly PathInfo[]>;
  /** The closure of valid paths. */
  queryClosure(paths: readonly StorePath[], options: CallOptions): Promise<readonly PathInfo[]>;
  /** Reads, checks, uploads and commits. Gives what could not be, and why. */
  push(request: PushRequest): Promise<ReadonlyMap<BaseName, string>>;
}

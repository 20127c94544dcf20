import type { IndexReader } from '../cache/read/index-reader.ts';
import type { Root } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import type { Realisation } from '../nix/realisation.ts';
import type { SecretKey } from '../nix/signature.ts';
import type { BaseName, StorePath } from '../nix/store-path.ts';
import type { LocalStore } from '../nix-store/local-store.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OnPublishEvent } from './events.ts';
import type { PushPathsOptions } from './push-paths.ts';

/** What is published, out of which store into which cache, and how. */
export interface PublishPathsOptions extends CallOptions {
  readonly store: ContentStore;
  /** Strict, over the same store; refreshed here. */
  readonly reader: IndexReader;
  readonly localStore: LocalStore;
  /** Valid paths; their closure is published. */
  readonly paths: readonly StorePath[];
  /** Derivations whose build closure is published too. */
  readonly buildClosureOf?: readonly StorePath[] | undefined;
  /** By path, which outputs of content-addressed derivations it is, as the local store has it. */
  readonly realisations?: ReadonlyMap<BaseName, readonly Realisation[]> | undefined;
  /** Outputs that the cache has and this store need not have; only asserted. */
  readonly cachedPaths?: readonly StorePath[] | undefined;
  readonly roots: readonly Root[];
  readonly upstreams: readonly Upstream[];
  readonly onUpstreamFailure: 'push' | 'fail';
  readonly excludePaths: readonly RegExp[];
  readonly maxNarBytes: number | undefined;
  readonly keys: readonly SecretKey[];
  readonly compression: Compression;
  readonly workers?: number | undefined;
  /** Who compresses; closed at the end. Default: so many threads. */
  readonly pool?: NarRunner | undefined;
  /** Where large NARs wait; closed at the end. Default: on disk. */
  readonly spool?: PushPathsOptions['spool'];
  readonly stopLimits?: PushPathsOptions['stopLimits'];
  readonly dryRun: boolean;
  /** Entries asserted longer ago than half of this are asserted again. */
  readonly retainSeconds: number;
  readonly creator: string;
  readonly source?: string | undefined;
  readonly revision?: string | undefined;
  readonly sourceUrl?: string | undefined;
  readonly onEvent: OnPublishEvent;
  readonly now: () => Date;
}

import type { IndexReader } from '../cache/read/index-reader.ts';
import type { CallOptions } from '../call-options.ts';
import type { PublicKey, SecretKey } from '../nix/signature.ts';
import type { ContentStore } from '../oci/content-store.ts';

/** What copies of every kind are told. */
export interface CopyOptions extends CallOptions {
  readonly destination: ContentStore;
  /** Strict, over the destination; refreshed by the copy. */
  readonly reader: IndexReader;
  /** Sign with these, beside the signatures that are there. */
  readonly keys: readonly SecretKey[];
  /** If there are any, nothing is copied that none of them signed. */
  readonly trustedKeys: readonly PublicKey[];
  /** Blobs, or NARs, on their way at once. */
  readonly jobs: number;
  readonly dryRun: boolean;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  /** The same for all roots that this copy records; no other run has it. */
  readonly run: string;
  readonly onEvent: OnCopyEvent;
  readonly now: () => Date;
}

/** What a copy did or, dry, would do. */
export interface CopyReport {
  readonly source: string;
  readonly destination: string;
  readonly dryRun: boolean;
  /** Entries that the destination lacked; `bytes` of compressed NARs. */
  readonly copied: { readonly paths: number; readonly bytes: number };
  /** Entries that the destination had. */
  readonly existed: { readonly paths: number };
  /** Bytes sent, and bytes that were to be sent and were there. */
  readonly uploadedBytes: number;
  readonly existedBytes: number;
  /** Segments taken over byte for byte, and segments written anew. */
  readonly segments: { readonly whole: number; readonly written: number };
  /** Checkpoints taken over byte for byte. */
  readonly checkpoints: number;
  /** How many of `copied` nobody has signed, the copy neither. */
  readonly unsigned: number;
  /** Left out: nobody trusted signed them, they are damaged, or they refer to such. */
  readonly refused: readonly RefusedPath[];
  /** References that the source does not have; other caches may. */
  readonly absent: number;
}

export interface RefusedPath {
  readonly path: string;
  readonly reason: string;
}

/** What a copy tells while it runs; the CLI draws it. */
export type CopyEvent =
  | { readonly type: 'stage'; readonly stage: CopyStage }
  /** Narinfos read of a binary cache, so far. */
  | { readonly type: 'looked-up'; readonly paths: number }
  /** What the destination lacks: `bytes` of compressed NARs. */
  | { readonly type: 'planned'; readonly paths: number; readonly bytes: number }
  | { readonly type: 'uploaded'; readonly bytes: number; readonly existed: boolean }
  /** `paths`: those of its entries that were not there before. */
  | { readonly type: 'committed'; readonly tag: string; readonly entries: number; readonly paths: number }
  | { readonly type: 'refused'; readonly path: string; readonly reason: string }
  | { readonly type: 'warning'; readonly message: string };

export type CopyStage = 'read' | 'copy' | 'commit';
type OnCopyEvent = (event: CopyEvent) => void;

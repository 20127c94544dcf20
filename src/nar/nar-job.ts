/** What goes to a NAR worker and what comes back. Plain data: it crosses threads. */

import type { ErrorCode } from '../errors.ts';
import type { NixHash } from '../nix/hash.ts';
import type { PartLimits, WrittenNar } from './part-writer.ts';

export interface Compression {
  readonly method: 'zstd' | 'xz' | 'none';
  /** zstd 1–19 (default 3), xz 0–9 (default 6). */
  readonly level?: number | undefined;
  /** zstd: a checksum in each frame. Readers need it not, and no frame is the same as one without. */
  readonly checksum?: boolean | undefined;
}

export interface NarJob extends PartLimits {
  /** Where the path's files really are. */
  readonly contentPath: string;
  /** For messages: the store path. */
  readonly storePath: string;
  readonly narHash: NixHash;
  readonly narSize: number;
  readonly compression: Compression;
  /** Where files go that are too large to be handed over in memory. */
  readonly spoolDirectory: string;
}

/** A compressed NAR that holds what its NAR hash says. */
export interface NarResult extends WrittenNar {
  /** The zstd-compressed `.ls` listing; undefined when it would be too long to be served. */
  readonly listing: Uint8Array | undefined;
}

/** Makes compressed NARs; `NarPool` does so in threads. */
export interface NarRunner {
  /** The compressed NAR of `job`; bytes of progress are those of the NAR. */
  run(job: NarJob, onProgress: (bytes: number) => void): Promise<NarResult>;
  /** Gives up what is under way. */
  close(): Promise<void>;
}

export type WorkerRequest = { readonly id: number; readonly job: NarJob };
/** What a worker is told: its next job, or to end after those that it has. */
export type WorkerMessage = WorkerRequest | 'end';
/** What it is started with. */
export interface WorkerStart {
  /** One number, 0 until jobs that are under way are to be given up. */
  readonly stopped: SharedArrayBuffer;
}
export type WorkerReply =
  | { readonly id: number; readonly progressBytes: number }
  | { readonly id: number; readonly result: NarResult }
  | { readonly id: number; readonly error: { readonly code: ErrorCode | undefined; readonly message: string } };

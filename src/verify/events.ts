import type { StorePath } from '../nix/store-path.ts';

/** What a verification tells while it runs; the CLI draws it. */
export type VerifyEvent =
  | { readonly type: 'stage'; readonly stage: VerifyStage }
  /** Segments read. */
  | { readonly type: 'segments'; readonly done: number; readonly total: number }
  | { readonly type: 'blobs'; readonly done: number; readonly total: number }
  | { readonly type: 'upstream'; readonly done: number; readonly total: number }
  /** Of `--contents`: compressed NARs to be read in all, then each step. */
  | { readonly type: 'contents-planned'; readonly nars: number; readonly bytes: number }
  /** Bytes unpacked and compressed. `nars` is 0 where a path has another NAR that was or is counted. */
  | {
      readonly type: 'contents';
      readonly path: StorePath;
      readonly nars: number;
      readonly narBytes: number;
      readonly fileBytes: number;
    }
  /** Of `--repair`. */
  | { readonly type: 'repaired'; readonly message: string }
  | { readonly type: 'warning'; readonly message: string };

export type VerifyStage = 'read' | 'blobs' | 'closure' | 'contents' | 'plan' | 'repair' | 'again';

export type OnVerifyEvent = (event: VerifyEvent) => void;

/** What a copy tells while it runs; the CLI draws it. */
export type CopyEvent =
  | { readonly type: 'stage'; readonly stage: CopyStage }
  /** Narinfos read of a binary cache, so far. */
  | { readonly type: 'looked-up'; readonly paths: number }
  /** What the destination lacks: `bytes` of compressed NARs. */
  | { readonly type: 'planned'; readonly paths: number; readonly bytes: number }
  | { readonly type: 'uploaded'; readonly bytes: number; readonly existed: boolean }
  | { readonly type: 'committed'; readonly tag: string; readonly entries: number }
  | { readonly type: 'refused'; readonly path: string; readonly reason: string }
  | { readonly type: 'warning'; readonly message: string };

export type CopyStage = 'read' | 'copy' | 'commit';
export type OnCopyEvent = (event: CopyEvent) => void;

/** What a gc tells while it runs; the CLI draws it. */
export type GcEvent =
  | { readonly type: 'stage'; readonly stage: GcStage }
  | { readonly type: 'segment-read'; readonly done: number; readonly total: number }
  | { readonly type: 'pack-written'; readonly bytes: number }
  | { readonly type: 'segment-written'; readonly tag: string; readonly entries: number }
  /** From here on what was dropped is gone for readers. */
  | { readonly type: 'checkpoint-written'; readonly tag: string }
  | { readonly type: 'deleted'; readonly done: number; readonly total: number }
  | { readonly type: 'warning'; readonly message: string };

export type GcStage = 'read' | 'plan' | 'write' | 'delete' | 'sweep';

export type OnGcEvent = (event: GcEvent) => void;

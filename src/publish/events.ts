/** What a publish tells while it runs; the CLI draws it. */
import type { BuildEvent } from '../nix-store/build-log.ts';
import type { FlakeOutput } from '../nix-store/flake-output.ts';

export type PublishEvent =
  | { readonly type: 'stage'; readonly stage: PublishStage }
  | { readonly type: 'discovered'; readonly outputs: readonly FlakeOutput[] }
  | { readonly type: 'evaluation-failed'; readonly attrPath: string; readonly error: string }
  /** `jobs` at once; undefined: not known. */
  | { readonly type: 'building'; readonly jobs: number | 'auto' | undefined }
  | { readonly type: 'build'; readonly event: BuildEvent }
  /** `isPart`: other outputs, which the cache has, were not looked into. */
  | { readonly type: 'closure'; readonly paths: number; readonly narBytes: number; readonly isPart: boolean }
  | { readonly type: 'upstream-asked'; readonly done: number; readonly total: number }
  | { readonly type: 'planned'; readonly paths: number; readonly narBytes: number }
  | { readonly type: 'nar-read'; readonly bytes: number }
  | { readonly type: 'uploaded'; readonly bytes: number; readonly existed: boolean }
  | { readonly type: 'path-done'; readonly path: string }
  | { readonly type: 'committed'; readonly tag: string; readonly entries: number }
  | { readonly type: 'warning'; readonly message: string };

export type PublishStage = 'discover' | 'build' | 'closure' | 'diff' | 'push' | 'commit';

export type OnPublishEvent = (event: PublishEvent) => void;

/** What several commands show in the same form with --json: times in ISO 8601, in UTC; store paths in full; counts as numbers. */
import type { Pin, Root } from '../cache-index/records.ts';
import type { ClosureSizes } from '../census/entry-graph.ts';
import type { KeepReason } from '../census/retention.ts';
import { type BaseName, toStorePath } from '../nix/store-path.ts';
import type { FlakeOutput } from '../nix-store/flake-output.ts';
import { ofSeconds } from './ui/format.ts';

export const rootJson = ({ time, path, ...root }: Root, storeDir: string): Readonly<Record<string, unknown>> => ({
  ...root,
  path: toStorePath(path, storeDir),
  published: ofSeconds(time),
});

/** A record of a pin: of what a name was given, or taken from. */
export const pinJson = ({ name, path, time, removed = false }: Pin, storeDir: string): unknown => ({
  ...{ name, removed, pinned: ofSeconds(time) },
  path: path && toStorePath(path, storeDir),
});

/** `missing`: how many paths of the closure the cache does not have; `leftOut`: how many of these on purpose. */
export const closureJson = ({ missing, ...sizes }: ClosureSizes): unknown => ({ ...sizes, missing: missing.length });

/** An output; null for a path that only a build tells. */
export const outputJson = ({ floating = [], ...output }: FlakeOutput): Readonly<Record<string, unknown>> => ({
  ...output,
  outputs: { ...output.outputs, ...Object.fromEntries(floating.map((name) => [name, null])) },
});

export const reasonJson = (reason: KeepReason): unknown =>
  'time' in reason ? { ...reason, time: ofSeconds(reason.time) } : reason;

export const pathsJson = (names: readonly BaseName[], storeDir: string): readonly string[] =>
  names.map((name) => toStorePath(name, storeDir));

/** What a publish is going to do, as a value: printable for --dry-run, comparable in a test, carried out afterwards. */

import { infosInOrder } from '../cache/write/references-first.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';

export interface PlanInput {
  /** Closure of what is to be published. */
  readonly closure: readonly PathInfo[];
  readonly isCached: (hashPart: HashPart) => boolean;
  /** Whether what is cached lacks a signature of ours. */
  readonly isToSign?: ((hashPart: HashPart) => boolean) | undefined;
  /** URL of the upstream that has a path. */
  readonly upstreamOf: ReadonlyMap<HashPart, string>;
  /** Paths whose upstreams did not answer. */
  readonly unknown: ReadonlyMap<HashPart, Error>;
  readonly excludePaths: readonly RegExp[];
  readonly maxNarBytes: number | undefined;
}

export interface PublishPlan {
  /** References first. */
  readonly push: readonly PathInfo[];
  readonly cached: readonly PathInfo[];
  /** In the cache too, and to be signed there. */
  readonly sign: readonly PathInfo[];
  readonly upstream: readonly PathInfo[];
  /** Those among `push` that an upstream may have but did not answer for. */
  readonly unknown: readonly PathInfo[];
  readonly excluded: readonly ExcludedPath[];
}

interface ExcludedPath {
  readonly info: PathInfo;
  readonly reason: string;
  /** Paths to be pushed, cached or signed that refer to it and now lack a reference. */
  readonly dependents: readonly BaseName[];
}

export function planPublish(input: PlanInput): PublishPlan {
  const push: PathInfo[] = [];
  const cached: PathInfo[] = [];
  const sign: PathInfo[] = [];
  const upstream: PathInfo[] = [];
  const unknown: PathInfo[] = [];
  const left: { info: PathInfo; reason: string }[] = [];
  for (const info of infosInOrder(input.closure)) {
    const hashPart = hashPartOf(info.path);
    if (input.isCached(hashPart)) (input.isToSign?.(hashPart) ? sign : cached).push(info);
    else if (input.upstreamOf.has(hashPart)) upstream.push(info);
    else {
      const reason = exclusionOf(info, input);
      if (reason !== undefined) left.push({ info, reason });
      else push.push(info);
      if (reason === undefined && input.unknown.has(hashPart)) unknown.push(info);
    }
  }
  const dependents = new Map<BaseName, BaseName[]>(left.map(({ info }) => [baseNameOf(info.path), []]));
  for (const { path, references } of [...push, ...cached, ...sign]) {
    for (const reference of references) dependents.get(reference)?.push(baseNameOf(path));
  }
  const excluded = left.map((each) => ({ ...each, dependents: dependents.get(baseNameOf(each.info.path)) ?? [] }));
  return { push, cached, sign, upstream, unknown, excluded };
}

function exclusionOf(info: PathInfo, { excludePaths, maxNarBytes }: PlanInput): string | undefined {
  const pattern = excludePaths.find((expression) => expression.test(info.path));
  if (pattern) return `it matches --exclude-path ${pattern.source}`;
  if (maxNarBytes !== undefined && info.narSize > maxNarBytes) {
    return `its NAR is ${info.narSize} bytes, more than --max-nar-size ${maxNarBytes}`;
  }
  return undefined;
}

export const narBytes = (infos: readonly PathInfo[]): number => infos.reduce((sum, { narSize }) => sum + narSize, 0);

/** What a publish finds before it pushes: how its closure stands in the cache and upstream, and what follows from that. */

import { referencesFirst } from '../cache/write/references-first.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { findSigner, sortPublicKeys } from '../nix/signature.ts';
import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { formatCount } from '../quantity.ts';
import { narBytes, type PublishPlan, planPublish } from './plan.ts';
import type { PublishPathsOptions } from './publish-paths-options.ts';
import { Signing, type Standing } from './signing.ts';
import { diffUpstream } from './upstream-diff.ts';

export interface Comparison {
  /** Of the local store. */
  readonly closure: readonly PathInfo[];
  /** What the outputs need that only the cache has, as it says; references first. */
  readonly below: readonly PathInfo[];
  readonly signing: Signing;
  /** Of `closure`. */
  readonly standings: ReadonlyMap<HashPart, Standing>;
  /** Of `closure`. */
  readonly plan: PublishPlan;
  /** The same with `below`, for those who are told how much there is. */
  readonly told: PublishPlan;
  /** What is left out, and in the cache as somebody else put it there. */
  readonly unsigned: readonly StorePath[];
}

export async function compare(closure: readonly PathInfo[], options: PublishPathsOptions): Promise<Comparison> {
  const { cachedPaths = [], onEvent } = options;
  onEvent({ type: 'closure', paths: closure.length, narBytes: narBytes(closure), isPart: cachedPaths.length > 0 });
  onEvent({ type: 'stage', stage: 'diff' });
  const signing = await openSigning(closure, options);
  const standings = new Map(closure.map((info) => [hashPartOf(info.path), signing.standingOf(info)]));
  const standsAs = (...wanted: readonly Standing[]) => {
    return (hashPart: HashPart): boolean => wanted.includes(standings.get(hashPart) ?? 'absent');
  };
  const [isAbsent, isOther] = [standsAs('absent'), standsAs('other')];
  // What somebody else put in the place of a path is in the way of an upstream's, too.
  const diff = await diffUpstream(
    closure.filter(({ path }) => isAbsent(hashPartOf(path))),
    options,
  );
  const plan = planPublish({
    ...{ ...options, closure, ...diff },
    isCached: standsAs('kept', 'to-sign'),
    isToSign: standsAs('to-sign'),
  });
  const unsigned = plan.excluded.map(({ info }) => info.path).filter((path) => isOther(hashPartOf(path)));
  for (const { info, reason, dependents } of plan.excluded) {
    const whose = dependents.length > 0 ? `; these then lack a reference: ${dependents.join(', ')}` : '';
    onEvent({ type: 'warning', message: `${info.path} is left out: ${reason}${whose}` });
  }
  onEvent({ type: 'planned', paths: plan.push.length, narBytes: narBytes(plan.push) });
  warnOfUnsigned(plan, unsigned, options);
  warnOfDisplaced(
    plan.push.filter(({ path }) => isOther(hashPartOf(path))),
    options,
  );
  const below = [...onlyCached(options)].filter(({ path }) => !standings.has(hashPartOf(path)));
  const isToSign = (info: PathInfo): boolean => signing.standingOf(info) === 'to-sign';
  const toSign = new Set(below.filter(isToSign));
  const told = {
    ...plan,
    cached: [...plan.cached, ...below.filter((info) => !toSign.has(info))],
    sign: [...plan.sign, ...toSign],
  };
  return { closure, below, signing, standings, plan, told, unsigned };
}

/** @throws {NixcacheError} ERR_NOT_FOUND, ERR_NIX */
export async function queryClosure({
  localStore,
  paths,
  buildClosureOf,
  signal,
}: PublishPathsOptions): Promise<readonly PathInfo[]> {
  const closure = paths.length > 0 ? await localStore.queryClosure(paths, { signal }) : [];
  if (!buildClosureOf || buildClosureOf.length === 0) return closure;
  const builds = await localStore.queryBuildClosure(buildClosureOf, { signal });
  return [...new Map([...closure, ...builds].map((info) => [info.path, info])).values()];
}

/** What the index may be old by when the closure is compared with it. */
const FRESH_MS = 30_000;

/** At the end of a long build it is. @throws {NixcacheError} */
export async function refreshIfOld({ reader, now, signal }: PublishPathsOptions): Promise<void> {
  const { refreshedAt } = reader.status();
  if (!refreshedAt || now().getTime() - refreshedAt.getTime() > FRESH_MS) await reader.refresh({ signal });
}

/** What outputs that the cache has need there. */
function* onlyCached({ reader, cachedPaths = [] }: PublishPathsOptions): Generator<PathInfo> {
  const infos = new Map<HashPart, PathInfo>();
  const order = referencesFirst(cachedPaths.map(hashPartOf), (hashPart) => {
    const info = reader.findEntry(hashPart)?.narInfo;
    if (info) infos.set(hashPart, info);
    return info?.references.map(hashPartOf);
  });
  for (const hashPart of order) {
    const info = infos.get(hashPart);
    if (info) yield info;
  }
}

/** What of `closure` the cache has, and who signed that, is known afterwards. */
async function openSigning(
  closure: readonly PathInfo[],
  { reader, keys, signal }: PublishPathsOptions,
): Promise<Signing> {
  if (keys.length > 0) {
    const unseen = closure.map(({ path }) => hashPartOf(path)).filter((hashPart) => !reader.findEntry(hashPart));
    const names = keys.map(({ name }) => name);
    await reader.loadUnsigned(unseen, names, { signal });
  }
  return new Signing(keys, reader, closure);
}

function warnOfUnsigned(
  plan: PublishPlan,
  unsigned: readonly StorePath[],
  { keys, reader, onEvent }: PublishPathsOptions,
): void {
  const warn = (message: string): void => onEvent({ type: 'warning', message });
  for (const path of unsigned) {
    warn(`${path} is in ${reader.name} as somebody else put it there, unsigned, and stays so, since it is left out`);
  }
  const names = keys.length > 0 ? [] : (reader.view?.publicKeys ?? []).map((text) => text.replace(/:.*$/s, ''));
  if (names.length > 0 && plan.push.length > 0) {
    warn(
      `${reader.name} is signed by ${names.join(', ')}, and what is pushed now is not: clients refuse it, and all that needs it, ` +
        'until it is pushed again with the key',
    );
  }
}

/** Where a build is not reproducible, publishers with different keys take each other's entries out of their clients' sight. */
function warnOfDisplaced(pushed: readonly PathInfo[], { reader, onEvent }: PublishPathsOptions): void {
  const { keys } = sortPublicKeys(reader.view?.publicKeys ?? []);
  const signers = pushed.flatMap(({ path }) => {
    const narInfo = reader.findEntry(hashPartOf(path))?.narInfo;
    return (narInfo?.path === path && findSigner(narInfo, keys)?.name) || [];
  });
  if (signers.length === 0) return;
  onEvent({
    type: 'warning',
    message:
      `${formatCount(signers.length, 'path is', 'paths are')} in ${reader.name} as ${[...new Set(signers)].join(', ')} signed them, ` +
      'and other contents take their place: clients that trust no key of this publish find them no more. ' +
      'Sign with both keys (--key-file twice), or publish from where they were built',
  });
}

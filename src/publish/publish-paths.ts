/** From store paths to a cache that has them: closure, diff, plan, push, commit. `push` is this; `publish` ends in it. */

import { assertStoreDir } from '../cache/read/cache-reader.ts';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { retentionInForce } from '../cache/read/view.ts';
import { findDueEntries } from '../cache/write/asserted-entries.ts';
import type { BackedEntry } from '../cache/write/incoming.ts';
import { referencesFirst } from '../cache/write/references-first.ts';
import type { Entry } from '../cache-index/entry.ts';
import { mergeRoots, type Root } from '../cache-index/records.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { Realisation } from '../nix/realisation.ts';
import { findSigner, type SecretKey, sortPublicKeys } from '../nix/signature.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { LocalStore } from '../nix-store/local-store.ts';
import type { ContentStore } from '../oci/content-store.ts';
import { formatCount } from '../quantity.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OnPublishEvent } from './events.ts';
import { OwnRealisations } from './own-realisations.ts';
import { narBytes, type PublishPlan, planPublish } from './plan.ts';
import { pointCacheIndex } from './point-cache-index.ts';
import { type PushOutcome, type PushPathsOptions, pushPaths } from './push-paths.ts';
import { Signing, type Standing } from './signing.ts';
import { diffUpstream } from './upstream-diff.ts';

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

export interface PublishPathsResult {
  readonly plan: PublishPlan;
  /** Undefined after a dry run. */
  readonly outcome: PushOutcome | undefined;
  /** Entries listed again. */
  readonly asserted: number;
  /** What the cache had without all of our signatures, and has with them now. */
  readonly signed: readonly StorePath[];
  /** What is needed of the cache although none of our keys signed it; none without keys. */
  readonly unsigned: readonly StorePath[];
}

export async function publishPaths(options: PublishPathsOptions): Promise<PublishPathsResult> {
  const { store, reader, localStore, onEvent, signal, now } = options;
  onEvent({ type: 'stage', stage: 'closure' });
  const [closure] = await Promise.all([queryClosure(options), refreshIfOld(options)]);
  assertStoreDir(reader, localStore.storeDir);
  const isPart = (options.cachedPaths ?? []).length > 0;
  onEvent({ type: 'closure', paths: closure.length, narBytes: narBytes(closure), isPart });

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
  onEvent({
    type: 'planned',
    paths: plan.push.length,
    narBytes: narBytes(plan.push),
  });
  warnOfUnsigned(plan, unsigned, options);
  warnOfDisplaced(
    plan.push.filter(({ path }) => isOther(hashPartOf(path))),
    options,
  );
  if (options.dryRun) return { plan, outcome: undefined, asserted: 0, signed: [], unsigned };

  onEvent({ type: 'stage', stage: 'push' });
  const local = [...plan.cached, ...plan.sign];
  const cached = [...local.map(({ path }) => path), ...(options.cachedPaths ?? [])].map(hashPartOf);
  const excluded = new Set<BaseName>(plan.excluded.map(({ info }) => baseNameOf(info.path)));
  const held = new Set<BaseName>([...plan.push, ...plan.cached, ...plan.sign].map(({ path }) => baseNameOf(path)));
  /** What an entry in the cache is to say is left out of what it refers to. */
  const leftOutOf = ({ narInfo, leftOut = [] }: Entry): BaseName[] =>
    narInfo.references.filter((name) => excluded.has(name) || (leftOut.includes(name) && !held.has(name)));
  const isSaid = (entry: Entry): boolean => leftOutOf(entry).join() === (entry.leftOut ?? []).join();
  const realisations = new OwnRealisations(options.realisations, options.keys);
  const { entries: due, closure: found } = await findDueEntries({
    ...{ store, reader, signal, hashParts: cached },
    before: now().getTime() / 1000 - retentionOf(options) / 2,
    isDueToo: (found) =>
      signing.isToSign(found) || !isSaid(found.entry) || realisations.lackedBy(found.entry).length > 0,
  });
  const asserted = due.flatMap((backed) => {
    const entry = signing.formOf(backed.entry);
    return entry
      ? { ...backed, entry: { ...entry, leftOut: leftOutOf(entry), realisations: realisations.with(entry) } }
      : [];
  });
  const outdone = [...standings.keys()].filter((hashPart) => standsAs('to-sign', 'other')(hashPart));
  const outcome = await pushPaths({
    ...options,
    push: plan.push,
    leftOut: excluded,
    realisations: realisations.signed,
    asserted,
    now: clockBehind(outdone, options),
    roots: options.roots.filter(({ path }) => !excluded.has(path)),
    closure: () => wholeClosure(closure, options),
    storeDir: localStore.storeDir,
    contentPath: ({ path }) => localStore.contentPath(path),
    isValid: async (path) => (await localStore.queryValidPaths([path], { signal })).has(path),
    reliance: {
      reader,
      hashParts: [...new Set([...cached, ...found])],
      local,
      formOf: (entry) => signing.formOf(entry),
    },
  });
  await pointCacheIndex(options, outcome);
  await noteSigned(signing, options);
  const isWritten = ({ entry }: BackedEntry): boolean => outcome.written.has(baseNameOf(entry.narInfo.path));
  const signed = due.filter((backed) => signing.isToSign(backed) && isWritten(backed));
  return {
    ...{ plan, outcome, unsigned },
    asserted: asserted.filter(isWritten).length,
    signed: signed.map(({ entry }) => entry.narInfo.path),
  };
}

/** So that the next publish from here need not make the signatures again to see that they are there. */
async function noteSigned(signing: Signing, { reader, keys }: PublishPathsOptions): Promise<void> {
  const seen = reader.segments().filter(({ tag, rows }) => rows.count > 0 && signing.seenIn(tag) === rows.count);
  for (const { tag } of seen) await reader.mirror.keep(tag, { signers: keys });
}

/** A day: a clock that is further ahead is wrong, and gc settles which entry stays. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

/** Our clock, or one later than the entries of `hashParts`: of two entries readers see the one that is newer by its writer's. */
function clockBehind(hashParts: readonly HashPart[], { reader, now }: PublishPathsOptions): () => Date {
  const times = hashParts.map((hashPart) => parseTag(reader.findAsserted(hashPart)?.tag ?? '')?.time ?? 0);
  const least = times.reduce((a, b) => Math.max(a, b), 0) + 1;
  return () => {
    const current = now();
    const aheadMs = least - current.getTime();
    return aheadMs > 0 && aheadMs <= MAX_AHEAD_MS ? new Date(least) : current;
  };
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

/** What the index may be old by when the closure is compared with it. */
const FRESH_MS = 30_000;

async function refreshIfOld({ reader, now, signal }: PublishPathsOptions): Promise<void> {
  const { refreshedAt } = reader.status();
  if (!refreshedAt || now().getTime() - refreshedAt.getTime() > FRESH_MS) await reader.refresh({ signal });
}

async function queryClosure({
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

/** `closure`, and what outputs need that only the cache has. */
function* wholeClosure(
  closure: readonly PathInfo[],
  { reader, cachedPaths = [] }: PublishPathsOptions,
): Generator<Pick<PathInfo, 'path' | 'references'>> {
  yield* closure;
  const infoOf = (hashPart: HashPart): PathInfo | undefined => reader.findEntry(hashPart)?.narInfo;
  const roots = cachedPaths.map(hashPartOf);
  for (const hashPart of referencesFirst(roots, (each) => infoOf(each)?.references.map(hashPartOf))) {
    const info = infoOf(hashPart);
    if (info) yield info;
  }
}

/** In seconds: what gcs of the cache go by, where that is less than what we were told. */
const retentionOf = ({ reader: { view }, retainSeconds }: PublishPathsOptions): number =>
  Math.min(retainSeconds, view ? retentionInForce(view) : retainSeconds);

/** Root records of one run. */
export const asRoots = (
  named: readonly { readonly name: string; readonly path: StorePath; readonly system?: string | undefined }[],
  shared: Pick<Root, 'run' | 'time' | 'source' | 'revision'>,
): Root[] =>
  mergeRoots([
    named.map(({ name, path, system }) => ({
      name,
      path: baseNameOf(path),
      ...(system === undefined ? {} : { system }),
      ...shared,
    })),
  ]);

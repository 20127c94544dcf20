/**
 * From a binary cache over HTTP or in a directory into a cache. NARs keep their compression, entries their signatures;
 * every NAR is checked against its narinfo before anything names it. Committed references first, as publish does.
 */
import { DiskSpool } from '../cache/disk/spool.ts';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { findDueEntries } from '../cache/write/asserted-entries.ts';
import { carried, type IncomingPath } from '../cache/write/incoming.ts';
import { type KeepWholeOptions, keepWhole, restoreVanished } from '../cache/write/keep-whole.ts';
import { infosInOrder, referencesFirst } from '../cache/write/references-first.ts';
import { takeNar } from '../cache/write/take-nar.ts';
import type { Entry } from '../cache-index/entry.ts';
import { NixcacheError } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { isSameSigned, signaturesOf } from '../nix/signature.ts';
import { baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { listNarInfos } from '../upstream/directory-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { narFileOf } from '../upstream/upstream.ts';
import { newRoots } from './carried-records.ts';
import { type WalkedClosure, walkClosure } from './closure-walk.ts';
import type { CopyOptions, CopyReport } from './copy-options.ts';
import { assertSameStoreDir, Destination, isAsWanted, isTrusted, UNTRUSTED, withSignatures } from './destination.ts';
import { Refusals } from './refusals.ts';
import { isUnsigned, warnOfUnsigned } from './unsigned.ts';

export interface CopyUpstreamOptions extends CopyOptions {
  /** Made for the store directory `storeDir`. */
  readonly source: Upstream;
  readonly storeDir: string;
  /** With all that they refer to; they become roots. Undefined: all that a cache in a directory has. */
  readonly paths: readonly StorePath[] | undefined;
}

/**
 * @throws {NixcacheError} ERR_NOT_FOUND when one of `paths` is not in the source; ERR_INDEX, ERR_INDEX_VERSION when the
 *   destination cannot be read; ERR_UPSTREAM, ERR_NETWORK; and what the destination throws
 */
export async function copyUpstream(options: CopyUpstreamOptions): Promise<CopyReport> {
  const { source, storeDir, reader, destination, dryRun, onEvent, signal } = options;
  onEvent({ type: 'stage', stage: 'read' });
  await reader.refresh({ signal });
  assertSameStoreDir(reader, { name: source.name, storeDir });
  const starts = options.paths?.map(hashPartOf) ?? (await listNarInfos(source.cache.url));
  const onLookedUp = (paths: number): void => onEvent({ type: 'looked-up', paths });
  const isWanted = (held: NarInfo): boolean => isAsWanted(held, options);
  const closure = await walkClosure(starts, { source, reader, isWanted, signal, onLookedUp });
  const lacking = options.paths?.find((path) => closure.absent.has(hashPartOf(path)));
  if (lacking !== undefined) throw new NixcacheError('ERR_NOT_FOUND', `${source.name} does not have ${lacking}`);
  const { wanted, again, refusals } = select(starts, closure, options);
  for (const each of refusals.list) onEvent({ type: 'refused', ...each });
  const bytes = wanted.reduce((sum, { fileSize, narSize }) => sum + (fileSize ?? narSize), 0);
  onEvent({ type: 'planned', paths: wanted.length, bytes });
  const unsigned = wanted.filter((info) => isUnsigned(info, options)).length;
  warnOfUnsigned(unsigned, options);
  const target = new Destination(options);
  let copied = { paths: wanted.length, bytes };
  if (!dryRun) {
    onEvent({ type: 'stage', stage: 'copy' });
    copied = await transfer({ wanted, again, refusals, starts, closure }, options, target);
    onEvent({ type: 'stage', stage: 'commit' });
    // Whoever uses the copy has to trust whom this copy trusts.
    await target.pointCacheIndex([...source.cache.publicKeys, ...options.trustedKeys].map(({ text }) => text));
  }
  return {
    source: source.name,
    destination: destination.name,
    dryRun,
    copied,
    existed: { paths: closure.held.size },
    ...target.bytes(),
    segments: { whole: 0, written: target.segments.length },
    checkpoints: 0,
    unsigned,
    refused: refusals.list,
    absent: closure.absent.size,
  };
}

interface Selected {
  /** What is to be copied, references first. */
  readonly wanted: readonly NarInfo[];
  /** What the destination has under other signatures. */
  readonly again: ReadonlyMap<HashPart, NarInfo>;
  readonly refusals: Refusals;
}

function select(
  starts: readonly HashPart[],
  { narInfos, unreadable }: WalkedClosure,
  { trustedKeys, reader, storeDir, paths = [] }: CopyUpstreamOptions,
): Selected {
  const refusals = new Refusals();
  const wanted: NarInfo[] = [];
  const again = new Map<HashPart, NarInfo>();
  const names = new Map(paths.map((path) => [hashPartOf(path), path as string]));
  for (const { references } of narInfos.values()) {
    for (const name of references) names.set(hashPartOf(name), `${storeDir}/${name}`);
  }
  for (const [hashPart, reason] of unreadable) {
    refusals.addUnnamed(hashPart, names.get(hashPart) ?? `${storeDir}/${hashPart}`, reason);
  }
  for (const info of infosIn(starts, narInfos, reader)) {
    const hashPart = hashPartOf(info.path);
    const narInfo = narInfos.get(hashPart);
    const held = narInfo && reader.findEntry(hashPart)?.narInfo;
    // What is there already stays, whoever signed the source's.
    if (!narInfo || (held && !isTrusted(narInfo, trustedKeys))) {
      refusals.pass(info);
      continue;
    }
    const reason = isTrusted(narInfo, trustedKeys) ? refusals.faultOf(narInfo) : UNTRUSTED;
    if (reason !== undefined) refusals.add(narInfo, reason);
    else if (held && isSameSigned(held, narInfo)) again.set(hashPart, narInfo);
    else wanted.push(narInfo);
  }
  return { wanted, again, refusals };
}

/** The closure of `starts`, references first: of the source what is missing, of the destination what it has. */
function* infosIn(
  starts: readonly HashPart[],
  narInfos: WalkedClosure['narInfos'],
  reader: IndexReader,
): Generator<Pick<NarInfo, 'path' | 'references'>> {
  const infoOf = (hashPart: HashPart): NarInfo | undefined =>
    narInfos.get(hashPart) ?? reader.findEntry(hashPart)?.narInfo;
  for (const hashPart of referencesFirst(starts, (each) => infoOf(each)?.references.map(hashPartOf))) {
    const info = infoOf(hashPart);
    if (info) yield info;
  }
}

interface Transfer extends Selected {
  readonly starts: readonly HashPart[];
  readonly closure: WalkedClosure;
}

/** Adds what turns out to be damaged to `refusals`, and what refers to it. */
async function transfer(
  { wanted, again, refusals, starts, closure }: Transfer,
  options: CopyUpstreamOptions,
  target: Destination,
): Promise<CopyReport['copied']> {
  const { source, destination: store, reader, storeDir, keys, jobs, signal, onEvent } = options;
  await using spool = new DiskSpool(store);
  await using writer = target.writer(storeDir, {
    spool,
    onLeftOut: ({ path, reason }) => {
      refusals.add({ path }, reason);
      onEvent({ type: 'refused', path, reason });
    },
    closure: () => infosIn(starts, closure.narInfos, options.reader),
  });
  const sizes = new Map<StorePath, number>();
  const onTaken = ({ path, fileSize }: Entry['narInfo']): void => void sizes.set(path, fileSize);
  const incomingOf = (info: NarInfo): IncomingPath => ({
    info,
    take: async (call) => {
      const nar = await takeNar(info, narFileOf(source, info), { ...call, spool });
      return { narInfo: { ...info, sigs: signaturesOf(info, keys) }, nar };
    },
  });
  const addAll = (infos: readonly NarInfo[]): Promise<void> =>
    writer.addAll(infos.map(incomingOf), { concurrency: jobs, onTaken });
  const formOf = (entry: Entry): Entry => {
    const narInfo = again.get(hashPartOf(entry.narInfo.path));
    return narInfo && isSameSigned(narInfo, entry.narInfo) ? withSignatures(entry, narInfo.sigs, keys) : entry;
  };
  const guard: KeepWholeOptions = {
    ...{ store, reader, writer, formOf, signal },
    relied: () => [...closure.held, ...wanted.map(({ path }) => hashPartOf(path))],
    pushAgain: async (lost) => addAll(await lostInfos(lost, options)),
  };
  const hashParts = [...again.keys()];
  const { entries } = await findDueEntries({
    ...{ store, reader, hashParts, signal, before: Number.NEGATIVE_INFINITY },
    isDueToo: ({ entry: { narInfo } }) => again.has(hashPartOf(narInfo.path)),
  });
  for (const backed of entries) await writer.add(carried({ ...backed, entry: formOf(backed.entry) }));
  await addAll(wanted);
  await restoreVanished(guard, true);
  const isRefused = (path: StorePath): boolean => refusals.has(hashPartOf(path));
  const roots = rootPaths(options, starts, closure).filter((path) => refusals.isWhole(hashPartOf(path)));
  const withEntries = wanted.some(({ path }) => !isRefused(path));
  await writer.finish({ roots: await newRoots(roots, { ...options, withEntries }), pins: [] });
  await keepWhole(guard);
  const copied = [...sizes].filter(([path]) => !isRefused(path));
  return { paths: copied.length, bytes: copied.reduce((sum, [, size]) => sum + size, 0) };
}

/**
 * What the destination had, and a gc dropped there while this relied on it, as the source has it; references first.
 *
 * @throws {NixcacheError} ERR_INDEX when it has it no more
 */
async function lostInfos(
  lost: readonly HashPart[],
  { source, destination, trustedKeys, signal }: CopyUpstreamOptions,
): Promise<readonly NarInfo[]> {
  const infos: NarInfo[] = [];
  for (const hashPart of lost) {
    const narInfo = await source.fetchNarInfo(hashPart, { signal });
    if (!narInfo || !isTrusted(narInfo, trustedKeys)) {
      throw new NixcacheError(
        'ERR_INDEX',
        `a gc dropped ${hashPart} from ${destination.name} while this relied on it, and ${source.name} does not have it: copy again`,
      );
    }
    infos.push(narInfo);
  }
  return infosInOrder(infos);
}

/** What was asked for; of a whole cache, what nothing else in it refers to. */
function rootPaths(
  { paths, reader }: CopyUpstreamOptions,
  starts: readonly HashPart[],
  { narInfos }: WalkedClosure,
): readonly StorePath[] {
  if (paths) return paths;
  const infos = starts.flatMap((hashPart) => narInfos.get(hashPart) ?? reader.findEntry(hashPart)?.narInfo ?? []);
  const inner = new Set<string>();
  for (const { path, references } of infos) {
    for (const reference of references) if (reference !== baseNameOf(path)) inner.add(reference);
  }
  return infos.map(({ path }) => path).filter((path) => !inner.has(baseNameOf(path)));
}

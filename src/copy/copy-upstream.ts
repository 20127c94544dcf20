/**
 * From a binary cache over HTTP or in a directory into a cache. NARs keep their compression, entries their signatures;
 * every NAR is checked against its narinfo before anything names it. Committed references first, as publish does.
 */
import { DiskSpool } from '../cache/disk/spool.ts';
import type { IndexReader } from '../cache/read/index-reader.ts';
import type { IncomingPath } from '../cache/write/incoming.ts';
import { signaturesOf } from '../cache/write/incoming.ts';
import { referencesFirst } from '../cache/write/references-first.ts';
import { takeNar } from '../cache/write/take-nar.ts';
import type { Entry } from '../cache-index/entry.ts';
import { NixcacheError } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { listNarInfos } from '../upstream/directory-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { narFileOf } from '../upstream/upstream.ts';
import { newRoots } from './carried-records.ts';
import { type WalkedClosure, walkClosure } from './closure-walk.ts';
import type { CopyOptions, CopyReport } from './copy-options.ts';
import { assertSameStoreDir, Destination, isTrusted, UNTRUSTED } from './destination.ts';
import { Refusals } from './refusals.ts';

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
  const closure = await walkClosure(starts, { source, reader, signal, onLookedUp });
  const lacking = options.paths?.find((path) => closure.absent.has(hashPartOf(path)));
  if (lacking !== undefined) throw new NixcacheError('ERR_NOT_FOUND', `${source.name} does not have ${lacking}`);
  const { wanted, refusals } = select(starts, closure, options);
  for (const each of refusals.list) onEvent({ type: 'refused', ...each });
  const bytes = wanted.reduce((sum, { fileSize, narSize }) => sum + (fileSize ?? narSize), 0);
  onEvent({ type: 'planned', paths: wanted.length, bytes });
  const target = new Destination(options);
  let copied = { paths: wanted.length, bytes };
  if (!dryRun) {
    onEvent({ type: 'stage', stage: 'copy' });
    copied = await transfer({ wanted, refusals, starts, closure }, options, target);
    onEvent({ type: 'stage', stage: 'commit' });
    // Whoever uses the copy has to trust whom this copy trusts.
    await target.pointCacheIndex([...source.cache.publicKeys, ...options.trustedKeys].map(({ text }) => text));
  }
  return {
    source: source.name,
    destination: destination.name,
    dryRun,
    copied,
    existed: { paths: closure.existed },
    ...target.bytes(),
    segments: { whole: 0, written: target.segments.length },
    checkpoints: 0,
    refused: refusals.list,
    absent: closure.absent.size,
  };
}

/** What is to be copied, references first. */
function select(
  starts: readonly HashPart[],
  { narInfos }: WalkedClosure,
  { trustedKeys, reader }: CopyUpstreamOptions,
): { readonly wanted: readonly NarInfo[]; readonly refusals: Refusals } {
  const refusals = new Refusals();
  const wanted: NarInfo[] = [];
  for (const info of infosIn(starts, narInfos, reader)) {
    const narInfo = narInfos.get(hashPartOf(info.path));
    if (!narInfo) {
      refusals.pass(info);
      continue;
    }
    const reason = isTrusted(narInfo, trustedKeys) ? refusals.faultOf(narInfo) : UNTRUSTED;
    if (reason === undefined) wanted.push(narInfo);
    else refusals.add(narInfo, reason);
  }
  return { wanted, refusals };
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

interface Transfer {
  /** References first. */
  readonly wanted: readonly NarInfo[];
  readonly refusals: Refusals;
  readonly starts: readonly HashPart[];
  readonly closure: WalkedClosure;
}

/** Adds what turns out to be damaged to `refusals`, and what refers to it. */
async function transfer(
  { wanted, refusals, starts, closure }: Transfer,
  options: CopyUpstreamOptions,
  target: Destination,
): Promise<CopyReport['copied']> {
  const { source, destination, storeDir, keys, jobs, onEvent } = options;
  await using spool = await DiskSpool.open(destination);
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
  const incoming = wanted.map(
    (info): IncomingPath => ({
      info,
      take: async (call) => {
        const nar = await takeNar(info, narFileOf(source, info), { ...call, spool });
        return { narInfo: { ...info, sigs: signaturesOf(info, keys) }, nar };
      },
    }),
  );
  await writer.addAll(incoming, { concurrency: jobs, onTaken });
  const isRefused = (path: StorePath): boolean => refusals.has(hashPartOf(path));
  const roots = rootPaths(options, starts, closure).filter((path) => refusals.isWhole(hashPartOf(path)));
  const withEntries = wanted.some(({ path }) => !isRefused(path));
  await writer.finish({ roots: await newRoots(roots, { ...options, withEntries }), pins: [] });
  const copied = [...sizes].filter(([path]) => !isRefused(path));
  return { paths: copied.length, bytes: copied.reduce((sum, [, size]) => sum + size, 0) };
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

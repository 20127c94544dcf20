/**
 * From a binary cache over HTTP or in a directory into a cache. NARs keep their compression, entries their signatures;
 * every NAR is checked against its narinfo before anything names it. Committed references first, as publish does.
 */
import pLimit from 'p-limit';
import { referencesFirst } from '../cache/write/references-first.ts';
import { openSpool } from '../cache/write/spool.ts';
import { NixcacheError } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { listNarInfos } from '../upstream/directory-listing.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { newRoots } from './carried-records.ts';
import { type WalkedClosure, walkClosure } from './closure-walk.ts';
import type { CopyOptions, CopyReport, RefusedPath } from './copy-options.ts';
import { assertSameStoreDir, Destination } from './destination.ts';
import { NarTransfer } from './nar-transfer.ts';
import { isTrusted, UNTRUSTED } from './signing.ts';

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
  const { wanted, refused } = select(starts, closure, options);
  for (const each of refused.values()) onEvent({ type: 'refused', ...each });
  const bytes = wanted.reduce((sum, { fileSize, narSize }) => sum + (fileSize ?? narSize), 0);
  onEvent({ type: 'planned', paths: wanted.length, bytes });
  const target = new Destination(options);
  let copied = { paths: wanted.length, bytes };
  if (!dryRun) {
    onEvent({ type: 'stage', stage: 'copy' });
    copied = await transfer({ wanted, refused, starts, closure }, options, target);
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
    refused: [...refused.values()],
    absent: closure.absent.size,
  };
}

type Refused = Map<HashPart, RefusedPath>;

/** What is to be copied, references first. */
function select(
  starts: readonly HashPart[],
  { narInfos }: WalkedClosure,
  { trustedKeys, reader }: CopyUpstreamOptions,
): { readonly wanted: readonly NarInfo[]; readonly refused: Refused } {
  const refused: Refused = new Map();
  const wanted: NarInfo[] = [];
  const referencesOf = (hashPart: HashPart): readonly HashPart[] | undefined =>
    (narInfos.get(hashPart) ?? reader.findEntry(hashPart)?.narInfo)?.references.map(hashPartOf);
  for (const hashPart of referencesFirst(starts, referencesOf)) {
    const narInfo = narInfos.get(hashPart);
    if (!narInfo) continue;
    const reason = isTrusted(narInfo, trustedKeys) ? brokenReference(narInfo, refused) : UNTRUSTED;
    if (reason === undefined) wanted.push(narInfo);
    else refused.set(hashPart, { path: narInfo.path, reason });
  }
  return { wanted, refused };
}

function brokenReference({ references }: NarInfo, refused: Refused): string | undefined {
  const lacking = references.find((reference) => refused.has(hashPartOf(reference)));
  return lacking && `it refers to ${lacking}, which is left out`;
}

interface Transfer {
  /** References first. */
  readonly wanted: readonly NarInfo[];
  readonly refused: Refused;
  readonly starts: readonly HashPart[];
  readonly closure: WalkedClosure;
}

/** Adds what turns out to be damaged to `refused`, and what refers to it. */
async function transfer(
  { wanted, refused, starts, closure }: Transfer,
  options: CopyUpstreamOptions,
  target: Destination,
): Promise<CopyReport['copied']> {
  const { destination, jobs, onEvent } = options;
  await using spool = await openSpool(destination);
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(options.signal ? [options.signal] : [])]);
  const nars = new NarTransfer({ ...options, signal, spoolDirectory: spool.directory, onUploaded: target.onUploaded });
  const writer = target.writer(options.storeDir, { flush: () => nars.flush(), packLayers: PACK_LAYERS });
  const limit = pLimit(jobs);
  const running = new Set<Promise<unknown>>();
  const copied = { paths: 0, bytes: 0 };
  const tasks = wanted.map((narInfo) =>
    limit(() => {
      if (brokenReference(narInfo, refused) !== undefined) return undefined;
      const taking = nars.take(narInfo).finally(() => running.delete(taking));
      running.add(taking);
      return taking;
    }),
  );
  for (const task of tasks) task.catch(() => undefined); // each is awaited below, unless an earlier one stops the run
  try {
    for (const [i, narInfo] of wanted.entries()) {
      const staged = await tasks[i];
      signal.throwIfAborted();
      const reason = brokenReference(narInfo, refused) ?? (typeof staged === 'string' ? staged : undefined);
      if (reason !== undefined) {
        const each = { path: narInfo.path, reason };
        refused.set(hashPartOf(narInfo.path), each);
        onEvent({ type: 'refused', ...each });
      } else if (staged !== undefined && typeof staged !== 'string') {
        await writer.add(staged);
        copied.paths++;
        copied.bytes += staged.fileSize;
      }
    }
    const roots = rootPaths(options, starts, closure).filter((path) => !refused.has(hashPartOf(path)));
    await writer.finish({ roots: await newRoots(roots, { ...options, withEntries: copied.paths > 0 }), pins: [] });
  } finally {
    limit.clearQueue();
    stop.abort();
    await Promise.allSettled(running);
  }
  return copied;
}

/** Layers kept free for packs, of which a segment's worth of small paths fills some 10. */
const PACK_LAYERS = 40;

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

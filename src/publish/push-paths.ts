/** Pushes paths of the local store and commits them: `CacheWriter` fed by worker threads. */

import { DiskSpool } from '../cache/disk/spool.ts';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { CacheWriter, type CommittedSegment, type LeftOutPath } from '../cache/write/cache-writer.ts';
import { type BackedEntry, carried } from '../cache/write/incoming.ts';
import { keepWhole, restoreVanished } from '../cache/write/keep-whole.ts';
import { CONCURRENT_UPLOADS } from '../cache/write/limits.ts';
import { infosInOrder } from '../cache/write/references-first.ts';
import type { Entry } from '../cache-index/entry.ts';
import type { Root } from '../cache-index/records.ts';
import { abortReason, type CallOptions } from '../call-options.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import { defaultWorkers, NarPool } from '../nar/nar-pool.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { hasSigned, type SecretKey } from '../nix/signature.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OnPublishEvent } from './events.ts';
import { type LocalNarsOptions, localNar, lostNar } from './local-nars.ts';
import { type STOP_LIMITS, StagedStop } from './staged-stop.ts';

export interface PushPathsOptions extends CallOptions {
  readonly store: ContentStore;
  /** References first. */
  readonly push: readonly PathInfo[];
  /** In the cache already, and to be listed again; references first. */
  readonly asserted: readonly BackedEntry[];
  /** Recorded with the last segment, once everything they need is committed; less those that need what is left out. */
  readonly roots: readonly Root[];
  /** What the roots need, in the cache already or not. */
  readonly closure?: (() => Iterable<Pick<PathInfo, 'path' | 'references'>>) | undefined;
  readonly keys: readonly SecretKey[];
  readonly storeDir: string;
  readonly creator: string;
  readonly source?: string | undefined;
  readonly revision?: string | undefined;
  readonly sourceUrl?: string | undefined;
  readonly compression: Compression;
  readonly contentPath: (info: PathInfo) => string;
  /** As of LocalNarsOptions. */
  readonly isValid?: LocalNarsOptions['isValid'];
  /** What is left out on purpose: those that refer to it say so. */
  readonly leftOut?: ReadonlySet<BaseName> | undefined;
  /** As of LocalNarsOptions. */
  readonly realisations?: LocalNarsOptions['realisations'];
  /** Other caches, asked for what the cache turns out to have lost. */
  readonly upstreams?: readonly Upstream[] | undefined;
  /** What the roots need beside `push`: looked after before the last commit, and after it. */
  readonly reliance?: Reliance | undefined;
  /** Threads that compress. */
  readonly workers?: number | undefined;
  /** Who compresses; closed at the end. Default: so many threads. */
  readonly pool?: NarRunner | undefined;
  /** Where large NARs wait; closed at the end. Default: on disk. */
  readonly spool?: (LocalNarsOptions['spool'] & AsyncDisposable) | undefined;
  /** How long what is ready may take to be committed once `signal` aborts, or something fails. */
  readonly stopLimits?: typeof STOP_LIMITS | undefined;
  readonly onEvent: OnPublishEvent;
  readonly now: () => Date;
}

interface Reliance {
  /** Strict, over the same store; refreshed when a gc was at work. */
  readonly reader: IndexReader;
  /** What is relied on of what the cache has. */
  readonly hashParts: readonly HashPart[];
  /** What of it the local store has too. */
  readonly local: readonly PathInfo[];
  /** As what an entry of the cache is listed again; undefined: not at all. */
  readonly formOf?: ((entry: Entry) => Entry | undefined) | undefined;
}

export interface PushOutcome {
  readonly segments: readonly CommittedSegment[];
  /** All that was listed, also what the cache had. */
  readonly written: ReadonlySet<BaseName>;
  readonly pushed: readonly PathInfo[];
  /** Paths that were left out, and why: their own fault, or that of something they refer to. */
  readonly failed: ReadonlyMap<BaseName, string>;
  readonly uploadedBytes: number;
  readonly existedBytes: number;
  /** It ended early: what was stored by then is committed, without roots. */
  readonly stopped?: StoppedPush | undefined;
}

export interface StoppedPush {
  readonly isInterrupted: boolean;
  readonly cause: unknown;
  /** What was to be pushed and was not, though nothing is wrong with it. */
  readonly missing: readonly PathInfo[];
}

/** Does not throw once it has begun: what ended it early is in `stopped`. */
export async function pushPaths(options: PushPathsOptions): Promise<PushOutcome> {
  const { store, push, keys, onEvent, signal, stopLimits: limits } = options;
  const bytes = { uploaded: 0, existed: 0 };
  const workers = options.workers ?? defaultWorkers();
  const pool = options.pool ?? new NarPool(workers);
  using stop = new StagedStop({ signal, limits, onStop: () => void pool.close() });
  await using spool = options.spool ?? new DiskSpool(store);
  await using writer = new CacheWriter({
    ...options,
    ...stop.signals,
    spool,
    publicKeys: keys.map(({ publicKey }) => publicKey.text),
    onUploaded: (size, existed) => {
      bytes[existed ? 'existed' : 'uploaded'] += size;
      onEvent({ type: 'uploaded', bytes: size, existed });
    },
    onCommit: async ({ tag }, entries, blob) => {
      onEvent({ type: 'committed', tag, entries: entries.length });
      const isSigned = entries.every(({ entry }) => keys.every((key) => hasSigned(key, entry.narInfo)));
      if (entries.length > 0) await options.reliance?.reader.mirror.keep(tag, { blob, signers: isSigned ? keys : [] });
    },
    onLeftOut: (leftOut) => {
      if (!leftOut.isDependent) onEvent({ type: 'warning', message: warningOf(leftOut) });
    },
  });
  const nars: LocalNarsOptions = {
    ...{ ...options, pool, spool, upstreams: options.upstreams ?? [] },
    onRead: (size: number) => onEvent({ type: 'nar-read', bytes: size }),
  };
  const lost: PathInfo[] = [];
  const work = { ...options, signal: stop.signals.signal, writer, nars, lost, concurrency: concurrencyOf(workers) };
  let stopped: StoppedPush | undefined;
  let isAdded = false;
  try {
    await addAll(work);
    isAdded = true;
    await finish(work);
  } catch (error) {
    stop.fail(error);
    stopped = await commitStored(work, error, { interrupt: signal, mayFinish: !isAdded });
  } finally {
    await pool.close();
  }
  const { segments, written, leftOut } = writer;
  return {
    ...{ segments, written, failed: leftOut, uploadedBytes: bytes.uploaded, existedBytes: bytes.existed, stopped },
    pushed: [...push, ...lost].filter(({ path }) => written.has(baseNameOf(path))),
  };
}

const concurrencyOf = (workers: number): number => workers * 2 + CONCURRENT_UPLOADS;

interface Work extends PushPathsOptions {
  readonly writer: CacheWriter;
  readonly nars: LocalNarsOptions;
  readonly concurrency: number;
  /** Gets what the cache turned out to have no more. */
  readonly lost: PathInfo[];
}

async function addAll(work: Work): Promise<void> {
  for (const backed of work.asserted) {
    const entry = { ...backed.entry, asserted: undefined };
    const again = () => work.writer.take(lostNar(backed, work.nars));
    await work.writer.add(carried({ ...backed, entry }, { again }));
  }
  await pushAgain(work.push, work);
}

async function pushAgain(infos: readonly PathInfo[], { writer, nars, concurrency, onEvent }: Work): Promise<void> {
  const onTaken = ({ path }: Pick<PathInfo, 'path'>): void => onEvent({ type: 'path-done', path });
  await writer.addAll(
    infos.map((info) => localNar(info, nars)),
    { concurrency, onTaken },
  );
}

/** The last commit, which has the roots, with a look before it and one behind. */
async function finish(work: Work): Promise<void> {
  const { store, push, roots, reliance, writer, nars, lost, signal } = work;
  const guard = reliance && {
    ...{ store, writer, signal, reader: reliance.reader, formOf: reliance.formOf },
    againOf: (backed: BackedEntry) => () => writer.take(lostNar(backed, nars)),
    pushAgain: async (hashParts: readonly HashPart[]): Promise<void> => {
      const infos = localInfos(hashParts, [...reliance.local, ...push], store.name);
      lost.push(...infos);
      await pushAgain(infos, work);
    },
  };
  const cached = reliance?.hashParts ?? [];
  if (guard) await restoreVanished({ ...guard, relied: () => cached });
  await writer.finish({ roots, pins: [] });
  if (guard) await keepWhole({ ...guard, relied: () => [...cached, ...push.map(({ path }) => hashPartOf(path))] });
}

interface CommitStoredOptions {
  readonly interrupt: AbortSignal | undefined;
  /** Not once it began to: a look that broke off may have seen, and does not see again, what has to be listed anew. */
  readonly mayFinish: boolean;
}

/** Commits what is stored after `error`; undefined where that turns out to be all of it, and the rest worked too. */
async function commitStored(
  work: Work,
  error: unknown,
  { interrupt, mayFinish }: CommitStoredOptions,
): Promise<StoppedPush | undefined> {
  const { writer, push, lost, asserted } = work;
  const isInterrupted = interrupt?.aborted === true;
  const isMissing = ({ path }: Pick<PathInfo, 'path'>): boolean =>
    !writer.written.has(baseNameOf(path)) && !writer.leftOut.has(baseNameOf(path));
  try {
    await writer.commitStored();
    const isWhole = ![...push, ...asserted.map(({ entry }) => entry.narInfo)].some(isMissing);
    if (mayFinish && isNixcacheError(error) && isWhole) {
      await finish(work);
      return undefined;
    }
  } catch (also) {
    if (!isNixcacheError(also)) throw also;
  }
  const cause = isInterrupted ? abortReason(interrupt) : error;
  return { isInterrupted, cause, missing: [...push, ...lost].filter(isMissing) };
}

/** @throws {NixcacheError} ERR_INDEX when one is not there either */
function localInfos(hashParts: readonly HashPart[], local: readonly PathInfo[], name: string): readonly PathInfo[] {
  const infos = new Map(local.map((info) => [hashPartOf(info.path), info]));
  const nowhere = hashParts.find((hashPart) => !infos.has(hashPart));
  if (nowhere === undefined) return infosInOrder(hashParts.flatMap((hashPart) => infos.get(hashPart) ?? []));
  throw new NixcacheError(
    'ERR_INDEX',
    `a gc dropped ${nowhere} from ${name} while this relied on it, and the local store does not have it: publish again`,
  );
}

/** What is wrong with a path of the local store names it. */
const warningOf = ({ path, reason }: LeftOutPath): string =>
  reason.includes(path) ? reason : `${path} is left out: ${reason}`;

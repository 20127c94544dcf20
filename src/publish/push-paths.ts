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
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import { defaultWorkers, NarPool } from '../nar/nar-pool.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { hasSigned, type SecretKey } from '../nix/signature.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OnPublishEvent } from './events.ts';
import { type LocalNarsOptions, localNar, lostNar } from './local-nars.ts';

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
  readonly pushed: readonly PathInfo[];
  /** Paths that were left out, and why: their own fault, or that of something they refer to. */
  readonly failed: ReadonlyMap<BaseName, string>;
  readonly uploadedBytes: number;
  readonly existedBytes: number;
}

export async function pushPaths(options: PushPathsOptions): Promise<PushOutcome> {
  const { store, push, asserted, keys, upstreams = [], onEvent, signal } = options;
  const bytes = { uploaded: 0, existed: 0 };
  const workers = options.workers ?? defaultWorkers();
  const pool = options.pool ?? new NarPool(workers);
  await using spool = options.spool ?? (await DiskSpool.open(store));
  await using writer = new CacheWriter({
    ...options,
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
  const stop = (): void => void pool.close();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const nars: LocalNarsOptions = {
      ...{ ...options, pool, spool, upstreams },
      onRead: (size) => onEvent({ type: 'nar-read', bytes: size }),
    };
    for (const backed of asserted) {
      const entry = { ...backed.entry, asserted: undefined };
      await writer.add(carried({ ...backed, entry }, { again: () => writer.take(lostNar(backed, nars)) }));
    }
    const concurrency = workers * 2 + CONCURRENT_UPLOADS;
    const onTaken = ({ path }: Pick<PathInfo, 'path'>): void => onEvent({ type: 'path-done', path });
    const addAll = (infos: readonly PathInfo[]): Promise<void> =>
      writer.addAll(
        infos.map((info) => localNar(info, nars)),
        { concurrency, onTaken },
      );
    await addAll(push);
    const lost: PathInfo[] = [];
    const guard = options.reliance && {
      ...{ store, writer, signal, reader: options.reliance.reader, formOf: options.reliance.formOf },
      againOf: (backed: BackedEntry) => () => writer.take(lostNar(backed, nars)),
      pushAgain: async (hashParts: readonly HashPart[]): Promise<void> => {
        const infos = localInfos(hashParts, [...(options.reliance?.local ?? []), ...push], store.name);
        lost.push(...infos);
        await addAll(infos);
      },
    };
    const cached = options.reliance?.hashParts ?? [];
    if (guard) await restoreVanished({ ...guard, relied: () => cached });
    await writer.finish({ roots: options.roots, pins: [] });
    if (guard) await keepWhole({ ...guard, relied: () => [...cached, ...push.map(({ path }) => hashPartOf(path))] });
    const { segments, leftOut } = writer;
    return {
      ...{ segments, failed: leftOut, uploadedBytes: bytes.uploaded, existedBytes: bytes.existed },
      pushed: [...push, ...lost].filter(({ path }) => !leftOut.has(baseNameOf(path))),
    };
  } finally {
    signal?.removeEventListener('abort', stop);
    await pool.close();
  }
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

/** Where the bytes of a publish come from: the local store, through the worker threads; for what the cache has lost, also upstreams. */
import type { BackedEntry, IncomingPath, TakenPath } from '../cache/write/incoming.ts';
import { isPathFault } from '../cache/write/incoming.ts';
import { partBytesFor } from '../cache/write/limits.ts';
import { MAX_PACKED_BYTES } from '../cache/write/pack.ts';
import type { Spool } from '../cache/write/spool.ts';
import { takeNar } from '../cache/write/take-nar.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import type { Compression, NarRunner } from '../nar/nar-job.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { Realisation } from '../nix/realisation.ts';
import { type SecretKey, signaturesOf } from '../nix/signature.ts';
import { type BaseName, baseNameOf, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { type ContentStore, canAdoptFiles } from '../oci/content-store.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { narFileOf } from '../upstream/upstream.ts';

export interface LocalNarsOptions {
  readonly store: ContentStore;
  readonly pool: NarRunner;
  readonly spool: Spool & { readonly directory: () => Promise<string> };
  readonly compression: Compression;
  readonly keys: readonly SecretKey[];
  readonly contentPath: (info: PathInfo) => string;
  /** Whether the local store still has a path; without it a path that cannot be read counts as changed. */
  readonly isValid?: ((path: StorePath) => Promise<boolean>) | undefined;
  /** What is left out on purpose. */
  readonly leftOut?: ReadonlySet<BaseName> | undefined;
  /** By path, which outputs of content-addressed derivations it is; signed. */
  readonly realisations?: ReadonlyMap<BaseName, readonly Realisation[]> | undefined;
  /** Bytes of NARs read and compressed. */
  readonly onRead: (bytes: number) => void;
  /** Other caches that may have what this one has lost. */
  readonly upstreams: readonly Upstream[];
}

/**
 * 512 KiB: compressed NARs up to this size go to a registry from memory; a dozen are under way at most. A file would be
 * written, read and streamed piece by piece. A layout wants the file.
 */
const MAX_HELD_BYTES = 512 * 1024;

/** `info` out of the local store: read, checked and compressed by a worker. */
export function localNar(info: PathInfo, options: LocalNarsOptions): IncomingPath {
  const { store, pool, spool, compression, keys, contentPath, isValid, onRead } = options;
  const leftOut = info.references.filter((reference) => options.leftOut?.has(reference));
  const take = async (): Promise<TakenPath> => {
    const job = {
      ...{ contentPath: contentPath(info), storePath: info.path, narHash: info.narHash, narSize: info.narSize },
      ...{ compression, spoolDirectory: await spool.directory(), partBytes: partBytesFor(info.narSize) },
      maxInlineBytes: canAdoptFiles(store) ? MAX_PACKED_BYTES : MAX_HELD_BYTES,
    };
    const nar = await pool.run(job, onRead).catch(async (error: unknown) => {
      throw isPathFault(error) && (await isValid?.(info.path)) === false ? deleted(info, error) : error;
    });
    const narInfo = { ...info, compression: compression.method, sigs: signaturesOf(info, keys) };
    return { narInfo, nar, leftOut, realisations: options.realisations?.get(baseNameOf(info.path)) };
  };
  return { info, take };
}

/** Nix takes a path out of its database first and then deletes it file by file: what is read meanwhile looks damaged. */
const deleted = ({ path }: PathInfo, cause: Error): NixcacheError =>
  new NixcacheError(
    'ERR_NAR_MISMATCH',
    `${path} was deleted from the local store before it was read, as nix store gc does; build or fetch it again, with a ` +
      'link that keeps it (nix build --out-link), and publish it again',
    { cause },
  );

/** The bytes of an entry that the cache has lost: out of the local store, else out of the first upstream that has the same. */
export function lostNar({ entry }: BackedEntry, options: LocalNarsOptions): IncomingPath {
  const { narInfo, leftOut, realisations } = entry;
  const take = async (call: CallOptions): Promise<TakenPath> => {
    const reasons: string[] = [];
    try {
      return { ...(await localNar(narInfo, options).take(call)), leftOut, realisations };
    } catch (error) {
      if (!isPathFault(error)) throw error;
      reasons.push(error.message);
    }
    for (const upstream of options.upstreams) {
      try {
        const found = await upstream.fetchNarInfo(hashPartOf(narInfo.path), call);
        if (found?.narHash !== narInfo.narHash) continue;
        const nar = await takeNar(narInfo, narFileOf(upstream, found), { ...call, spool: options.spool });
        return { narInfo: { ...narInfo, compression: found.compression }, nar, leftOut, realisations };
      } catch (error) {
        call.signal?.throwIfAborted();
        if (!isNixcacheError(error) || error.code === 'ERR_IO') throw error;
        reasons.push(`${upstream.name}: ${messageOf(error)}`);
      }
    }
    throw new NixcacheError(
      'ERR_NAR_MISMATCH',
      `${options.store.name} has lost its bytes, and nobody else has them (${reasons.join('; ')})`,
    );
  };
  return { info: narInfo, take };
}

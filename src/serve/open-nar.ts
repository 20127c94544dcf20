/** Opens NARs, wherever their bytes are. Whatever keeps, shares or takes bytes on their way wraps an `OpenNar`. */
import type { Readable } from 'node:stream';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import type { Entry } from '../cache-index/entry.ts';
import type { Unpacked } from '../nar/verify-packed.ts';
import type { NixHash } from '../nix/hash.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Pieces } from '../streams/pieces.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OpenOptions } from './answer.ts';

interface NarFacts {
  /** Bytes; undefined where nobody said. */
  readonly size?: number | undefined;
  /** What the compressed NAR has to be. */
  readonly fileHash?: NixHash | undefined;
  /** Known digests of its pieces. */
  readonly pieces?: Pieces | undefined;
  /** It is another file than the one that was announced, with the same NAR. */
  readonly repacking?: Repacking | undefined;
}

/** Compressions of what is had, and of what was announced, where that is to be sent in another form. */
export interface Repacking {
  readonly from: string;
  readonly to: string;
  readonly narHash: NixHash;
  readonly narSize: number;
}

/** A NAR that the cache has. */
export interface CacheNar extends NarFacts {
  readonly entry: Entry;
}

/** The NAR of `entry`. */
export function cacheNar(entry: Entry): CacheNar {
  const { narInfo, pieces } = entry;
  const { fileHash, fileSize: size } = narInfo;
  return { entry, size, fileHash, pieces: pieces && { size, ...pieces } };
}

/** A NAR that an upstream has, or at least should have. */
export interface UpstreamNar extends NarFacts {
  readonly upstream: Upstream;
  /** As the upstream's narinfo names it. */
  readonly url: string;
  /** As we name it. */
  readonly ours: string;
  /** Of the path whose narinfo named it; undefined where our own URL is all that is known. */
  readonly hashPart?: HashPart | undefined;
  readonly narHash?: NixHash | undefined;
  /** Only the URL that was asked for says so: nothing is opened or remembered for it before a narinfo says the same. */
  readonly isUnconfirmed?: boolean | undefined;
  /** What it has to unpack to, where that is checked. */
  readonly unpacked?: Unpacked | undefined;
}

export type Nar = CacheNar | UpstreamNar;

/**
 * Opens a NAR, or a range of it: a whole one ends in an error, its last bytes withheld, unless it has its file hash. A range
 * is as long as it should be, and no more is known of it.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_NETWORK, ERR_UPSTREAM and others
 */
export type OpenNar = (nar: Nar, options: OpenOptions) => Promise<Readable>;

type OpenUpstreamNar = (nar: UpstreamNar, options: OpenOptions) => Promise<Readable>;

export const openNarFrom =
  (reader: Pick<CacheReader, 'openNar'>, opener: { readonly open: OpenUpstreamNar }): OpenNar =>
  (nar, options) =>
    'entry' in nar ? reader.openNar(nar.entry, options) : opener.open(nar, options);

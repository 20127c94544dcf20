/**
 * NARs of upstreams, under URLs of ours, each of which says what its bytes have to be.
 *
 * A NAR named by its file hash keeps its URL, `nar/<52 characters>.nar.xz`, wherever it comes from. Every other becomes
 * `nar/u/<upstream id>/<hash part>-<NAR hash>-<NAR size>-<compression>[-<file hash>]/<base64url of theirs>`, which says by
 * itself whom to ask for what, and what has to come; of a long URL of theirs it has a digest, behind a tilde. Nix remembers
 * narinfos for 30 days, far longer than we do. Whoever asks may have made it up, though, so that one which was not announced
 * here is believed only once a narinfo there says the same.
 *
 * Only the NAR hash and size are signed. So what one upstream says of a URL holds for what that upstream gives, and two that
 * say of one file that it holds different NARs never share a URL.
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { canDecompress } from '../nar/decompress.ts';
import type { Unpacked } from '../nar/verify-packed.ts';
import { hashToBase32, type NixHash } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../nix/nar-info.ts';
import { ALPHABET } from '../nix/nixbase32.ts';
import { HASH_PART_LENGTH, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { BrokenNarError } from './broken-nar.ts';
import { faultOf } from './nar-info-faults.ts';
import type { UpstreamNar } from './open-nar.ts';

/** The first digit of 256 bits in base 32 is 0 or 1. */
const HASH = `[01][${ALPHABET}]{51}`;
const BY_FILE_HASH = new RegExp(`^nar/(${HASH})\\.nar(?:\\.[0-9a-z]{1,8})?$`);
const FOREIGN = new RegExp(
  `^nar/u/([0-9a-f]{12})/([${ALPHABET}]{${HASH_PART_LENGTH}})-(${HASH})-([1-9][0-9]{0,15})-([0-9a-z]{1,8})(?:-(${HASH}))?/(?:([0-9A-Za-z_-]{1,2000})|~[0-9A-Za-z_-]{43})$`,
);
/** 32 768 NARs of 400 bytes each are 13 MB; where URLs are long, so many as that takes. */
const MAX_REMEMBERED = 32_768;
const MAX_REMEMBERED_CHARACTERS = 16 * 1024 * 1024;
/** 8 KiB: a presigned URL with a session token has two, and servers take no more. */
const MAX_THEIR_URL = 8192;
/** In base 64; a longer one of theirs is named by its digest, for what is asked of us has limits as well. */
const MAX_ENCODED = 2000;
/** Ten minutes, as for what our own cache has lost. */
const WRONG_TTL_MS = 600_000;
/** A minute: what broke off as often as it was tried may be whole again soon. */
const BROKEN_TTL_MS = 60_000;

/** What an upstream is said to have under a URL of its own. */
type Claim = Pick<UpstreamNar, 'upstream' | 'url' | 'narHash' | 'fileHash'>;

/** A narinfo of ours, or why there is none. */
export type Adopted = { readonly text: string; readonly nar: UpstreamNar } | { readonly refused: string };

/** What a narinfo names, and that narinfo with what of it nobody signs put right. */
interface Understood {
  readonly nar: UpstreamNar & { readonly hashPart: HashPart; readonly narHash: NixHash };
  readonly info: NarInfo;
}

export class UpstreamNars {
  readonly #upstreams: ReadonlyMap<string, Upstream>;
  /** What upstreams say is under a URL of ours; all of them say that it holds the same NAR. */
  readonly #claims = new LRUCache<string, readonly UpstreamNar[]>({
    max: MAX_REMEMBERED,
    maxSize: MAX_REMEMBERED_CHARACTERS,
    sizeCalculation: (nars, ours) => nars.reduce((size, { url }) => size + url.length, ours.length),
  });
  /** What was not as its narinfo says and was read whole, by what it is. */
  readonly #read = new LRUCache<string, UpstreamNar>({
    max: MAX_REMEMBERED,
    maxSize: MAX_REMEMBERED_CHARACTERS,
    sizeCalculation: ({ url, ours }, key) => url.length + ours.length + key.length,
  });
  /** Which upstream gave something wrong, or nothing, for which URL of its own, as which NAR and in which file. */
  readonly #wrong = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: WRONG_TTL_MS });

  constructor(upstreams: readonly Upstream[]) {
    this.#upstreams = new Map(upstreams.map((upstream) => [upstream.id, upstream]));
  }

  /** The narinfo that we give for `info`, whose NAR is remembered from now on. */
  async adopt(upstream: Upstream, said: NarInfo): Promise<Adopted> {
    const understood = await this.understand(upstream, said);
    if ('refused' in understood) return understood;
    const { nar, info } = understood;
    this.remember(nar);
    return { text: formatNarInfo({ ...info, url: nar.ours }), nar };
  }

  /** The NAR that `upstream` has as it says with `said`, or why it is not taken from there. */
  async understand(upstream: Upstream, said: NarInfo): Promise<Understood | { readonly refused: string }> {
    if (said.url.length > MAX_THEIR_URL) {
      return { refused: `the URL of its NAR at ${upstream.name} is longer than ${MAX_THEIR_URL} characters` };
    }
    if (!upstream.reaches(said.url)) return { refused: `its NAR at ${upstream.name} lies outside that cache` };
    const info = this.#mended(upstream, said);
    const fault = faultOf(info, formatNarInfo(info));
    if (fault !== undefined) return { refused: `at ${upstream.name} ${fault}` };
    const isPlain = info.compression === 'none';
    const fileHash = info.fileHash ?? (isPlain ? info.narHash : undefined);
    const size = info.fileSize ?? (isPlain ? info.narSize : undefined);
    if (fileHash === undefined && !(await canDecompress(info.compression))) {
      return {
        refused: `${upstream.name} gives no FileHash, and what is compressed with ${info.compression} cannot be checked here`,
      };
    }
    const ours = this.#ownUrl(upstream, info, fileHash);
    const { path, url, narHash } = info;
    const { pieces } = this.#readOf(upstream, said) ?? {};
    const facts = { size, fileHash, narHash, unpacked: unpackedOf(info), pieces };
    const nar = { upstream, url, ours, hashPart: hashPartOf(path), ...facts };
    if (this.isWrong(nar)) return { refused: `what ${upstream.name} has of it was wrong or gone` };
    return { nar, info };
  }

  /** `info` with the right file hash and size, which nobody signs, as far as they are known. */
  #mended(upstream: Upstream, info: NarInfo): NarInfo {
    const { narHash, narSize, compression, fileHash, fileSize } = info;
    if (compression === 'none') {
      return {
        ...info,
        ...(fileHash === undefined ? {} : { fileHash: narHash }),
        ...(fileSize === undefined ? {} : { fileSize: narSize }),
      };
    }
    const read = this.#readOf(upstream, info);
    return read?.fileHash && read.size !== undefined ? { ...info, fileHash: read.fileHash, fileSize: read.size } : info;
  }

  /** What `info` names, where all of it was read because it was not as `info` says. */
  #readOf(upstream: Upstream, { url, narHash }: NarInfo): UpstreamNar | undefined {
    return this.#read.get(readKey({ upstream, url, narHash }));
  }

  #ownUrl(upstream: Upstream, info: NarInfo, fileHash: NixHash | undefined): string {
    const { path, url, narHash, narSize, compression } = info;
    const said = this.#claims.get(url) ?? [];
    const isShared = said.every((claim) => claim.narHash === undefined || claim.narHash === narHash);
    if (fileHash !== undefined && fileHashIn(url) === fileHash && isShared) return url;
    const what = [
      hashPartOf(path),
      hashToBase32(narHash),
      narSize,
      compression,
      ...(fileHash ? [hashToBase32(fileHash)] : []),
    ];
    return `nar/u/${upstream.id}/${what.join('-')}/${nameOfUrl(url)}`;
  }

  remember(nar: UpstreamNar): void {
    const others = (this.#claims.get(nar.ours) ?? []).filter(({ upstream }) => upstream !== nar.upstream);
    this.#claims.set(nar.ours, [...others, nar]);
  }

  /**
   * What `nar` named is not there, or something else. Who asks for its URL still learns what it named, so that another upstream
   * can be asked for that.
   */
  forget(nar: UpstreamNar, error: unknown): void {
    this.distrust(nar, error);
    this.remember({ ...nar, pieces: undefined });
  }

  /** `nar` is not what its upstream has there. */
  distrust(nar: UpstreamNar, error: unknown): void {
    const ttl = error instanceof BrokenNarError ? BROKEN_TTL_MS : WRONG_TTL_MS;
    // Under its name alone, of which nobody says what it unpacks to, it is not taken from there either.
    for (const narHash of [nar.narHash, undefined]) this.#wrong.set(wrongKey({ ...nar, narHash }), true, { ttl });
    this.#read.delete(readKey(nar));
  }

  /** `nar` was read, and all of it is right. */
  clearOf(nar: UpstreamNar): void {
    for (const narHash of [nar.narHash, undefined]) this.#wrong.delete(wrongKey({ ...nar, narHash }));
    this.#read.set(readKey(nar), nar);
  }

  /** Forgets what was wrong or gone: it may be there by now. */
  clear(): void {
    this.#wrong.clear();
  }

  /** Whether its upstream was seen not to have `nar`, which has this NAR hash and this file hash. */
  isWrong(nar: Claim): boolean {
    return this.#wrong.has(wrongKey(nar));
  }

  /** What our `url` names, if that is known, or as it stands in it. */
  find(url: string): UpstreamNar | undefined {
    const claims = this.#claims.get(url) ?? [];
    const claim = claims.find((each) => !this.isWrong(each)) ?? claims[0];
    if (claim !== undefined) return claim;
    const [, id = '', hashPart, nar, size, compression = '', file, encoded] = FOREIGN.exec(url) ?? [];
    const upstream = this.#upstreams.get(id);
    if (upstream === undefined) return undefined;
    // Where only a digest of it is known, its narinfo has to tell.
    const theirs = encoded === undefined ? '' : Buffer.from(encoded, 'base64url').toString('utf8');
    if (encoded !== undefined && !upstream.reaches(theirs)) return undefined;
    const narHash = `sha256:${nar}` as NixHash;
    const isPlain = compression === 'none';
    const fileHash = file === undefined ? (isPlain ? narHash : undefined) : (`sha256:${file}` as NixHash);
    const unpacked = isPlain ? undefined : { compression, narHash, narSize: Number(size) };
    return {
      ...{ upstream, url: theirs, ours: url, size: isPlain ? Number(size) : undefined, fileHash, narHash, unpacked },
      ...{ hashPart: hashPart as HashPart, isUnconfirmed: true },
    };
  }
}

function nameOfUrl(url: string): string {
  const encoded = Buffer.from(url).toString('base64url');
  return encoded.length <= MAX_ENCODED ? encoded : `~${digestOf(url)}`;
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('base64url');

/** What the NAR has to be checked for beside its file hash, which nobody signs. */
const unpackedOf = ({ compression, narHash, narSize }: NarInfo): Unpacked | undefined =>
  compression === 'none' ? undefined : { compression, narHash, narSize };

const wrongKey = ({ upstream, url, narHash, fileHash }: Claim): string =>
  `${upstream.id} ${url.length > MAX_ENCODED ? digestOf(url) : url} ${narHash ?? ''} ${fileHash ?? ''}`;
const readKey = ({ upstream, url, narHash }: Claim): string => wrongKey({ upstream, url, narHash });

/** The file hash that `url` names a NAR by, so that any upstream may be asked for it; undefined for other names. */
export function fileHashIn(url: string): NixHash | undefined {
  const hash = BY_FILE_HASH.exec(url)?.[1];
  return hash === undefined ? undefined : (`sha256:${hash}` as NixHash);
}

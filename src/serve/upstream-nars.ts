/**
 * NARs of upstreams, under URLs of ours.
 *
 * A NAR named by its file hash keeps its URL, `nar/<52 characters>.nar.xz`, wherever it comes from. Every other URL
 * becomes `nar/u/<upstream id>/<base64url of theirs>`, which says by itself whom to ask for what: Nix remembers
 * narinfos for 30 days, far longer than we do.
 */
import { LRUCache } from 'lru-cache';
import type { NixHash } from '../nix/hash.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { ALPHABET } from '../nix/nixbase32.ts';
import { resolveInside } from '../upstream/file-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { UpstreamNar } from './open-nar.ts';

/** The first digit of 256 bits in base 32 is 0 or 1. */
const BY_FILE_HASH = new RegExp(`^nar/([01][${ALPHABET}]{51})\\.nar(?:\\.[0-9a-z]{1,8})?$`);
const FOREIGN = /^nar\/u\/([0-9a-f]{12})\/([0-9A-Za-z_-]{1,2000})$/;
/** 32 768 NARs of 300 bytes each are 10 MB. */
const MAX_REMEMBERED = 32_768;

export class UpstreamNars {
  readonly #upstreams: ReadonlyMap<string, Upstream>;
  readonly #remembered = new LRUCache<string, UpstreamNar>({ max: MAX_REMEMBERED });

  constructor(upstreams: readonly Upstream[]) {
    this.#upstreams = new Map(upstreams.map((upstream) => [upstream.id, upstream]));
  }

  /** The URL under which we serve the NAR of `info`, remembered from now on; undefined when it is outside the upstream. */
  adopt(upstream: Upstream, info: NarInfo): string | undefined {
    if (resolveInside(upstream.cache.url, info.url) === undefined) return undefined;
    const encoded = Buffer.from(info.url).toString('base64url');
    const url = BY_FILE_HASH.test(info.url) ? info.url : `nar/u/${upstream.id}/${encoded}`;
    if (url !== info.url && !FOREIGN.test(url)) return undefined; // too long
    const { fileHash, fileSize: size } = info;
    this.remember(url, { upstream, url: info.url, size, fileHash });
    return url;
  }

  remember(url: string, nar: UpstreamNar): void {
    this.#remembered.set(url, nar);
  }

  /** What our `url` names, if that is known or stands in it. */
  find(url: string): UpstreamNar | undefined {
    const remembered = this.#remembered.get(url);
    if (remembered !== undefined) return remembered;
    const [, id = '', encoded = ''] = FOREIGN.exec(url) ?? [];
    const upstream = this.#upstreams.get(id);
    if (upstream === undefined) return undefined;
    const theirs = Buffer.from(encoded, 'base64url').toString('utf8');
    return resolveInside(upstream.cache.url, theirs) === undefined ? undefined : { upstream, url: theirs };
  }
}

/** The file hash that `url` names a NAR by, so that any upstream may be asked for it; undefined for other names. */
export function fileHashIn(url: string): NixHash | undefined {
  const hash = BY_FILE_HASH.exec(url)?.[1];
  return hash === undefined ? undefined : (`sha256:${hash}` as NixHash);
}

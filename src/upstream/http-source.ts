/** A binary cache over HTTP. */

import { NixcacheError } from '../errors.ts';
import type { Clock } from '../http/clock.ts';
import { HttpError, readRefusal } from '../http/http-error.ts';
import { type HttpFetch, type HttpHeaders, type HttpResponse, redactUrl } from '../http/http-fetch.ts';
import { authorizationAt, discardBody } from '../http/redirects.ts';
import type { OpenRange } from '../streams/byte-range.ts';
import { sliceStream } from '../streams/slice-stream.ts';
import { signedHeaders } from './bucket.ts';
import { codingsOf, decodeBody } from './content-coding.ts';
import type { FileSource, OpenFileOptions, SourceFile } from './file-source.ts';
import type { UpstreamCache } from './upstream-cache.ts';

/** What Nix takes for an answer with a body; 206 to a request for a range. Source: NixOS/nix src/libstore/filetransfer.cc. */
const PRESENT: ReadonlySet<number> = new Set([200, 201, 206]);
/** Not there, as Nix sees it: S3 answers 403 for what is absent. */
const ABSENT: ReadonlySet<number> = new Set([403, 404, 410]);
/** As many as Nix follows. */
const MAX_REDIRECTS = 10;
/** Until a NAR begins: some caches first fetch it from elsewhere, or make it. */
const MIN_BULK_TIMEOUT_MS = 60_000;

/** The request came back to the server that it is from. RFC 5842 7.2 names the status. */
const LOOP_DETECTED = 508;

/** The cache leads back to the server that asks it. */
export class LoopError extends NixcacheError {
  constructor(url: string) {
    super(
      'ERR_UPSTREAM',
      `${url} leads back to this server itself: take it out of the upstreams, it has nothing to add`,
    );
  }
}

export class HttpSource implements FileSource {
  readonly #cache: UpstreamCache;
  readonly #http: HttpFetch;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(cache: UpstreamCache, http: HttpFetch, clock: Pick<Clock, 'now'>) {
    this.#cache = cache;
    this.#http = http;
    this.#clock = clock;
  }

  async open(relative: string, options: OpenFileOptions = {}): Promise<SourceFile | undefined> {
    for (const located of locate(this.#cache.url, relative)) {
      // Storage takes a plus in a path for a space.
      const url = this.#cache.bucket === undefined ? located : new URL(located.href.replaceAll('+', '%2B'));
      const file = await this.#open(url, options);
      if (file !== undefined) return file;
    }
    return undefined;
  }

  async #open(url: URL, options: OpenFileOptions): Promise<SourceFile | undefined> {
    const { range } = options;
    const response = await this.#request(url, options);
    if (response === undefined) return undefined;
    const codings = codingsOf(response.headers['content-encoding']);
    if (codings.length > 0 && response.status === 206) {
      // A part of what is encoded cannot be decoded.
      response.body.destroy();
      const whole = await this.#open(url, { ...options, range: undefined });
      return whole && range ? { ...whole, body: sliceStream(whole.body, range) } : whole;
    }
    try {
      return toSourceFile(response, range, codings);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
  }

  /** For what lies in the bucket, and not in another at the same host. */
  async #sign(url: URL): Promise<Readonly<Record<string, string>> | undefined> {
    const { url: base, bucket, bucketKeys } = this.#cache;
    if (bucket === undefined || bucketKeys === undefined || !url.href.startsWith(`${base}/`)) return undefined;
    return await signedHeaders(url, bucket, bucketKeys, new Date(this.#clock.now()));
  }

  async #request(url: URL, { range, bulk = false, via, signal }: OpenFileOptions): Promise<HttpResponse | undefined> {
    const { url: base, timeoutMs } = this.#cache;
    const isOwn = url.origin === new URL(base).origin;
    const authorization = isOwn ? this.#cache.authorization : authorizationAt(url, this.#cache);
    const signature = isOwn ? await this.#sign(url) : undefined;
    const response = await this.#http.request({
      ...{ url, signal, bulk, timeoutMs: bulk ? Math.max(timeoutMs, MIN_BULK_TIMEOUT_MS) : timeoutMs },
      // What is signed is for that host alone.
      authorizationFor: (other) => authorizationAt(other, this.#cache),
      ...{ maxRedirects: signature === undefined ? MAX_REDIRECTS : 0, allowPlainRedirects: true },
      headers: {
        ...(range === undefined ? {} : { range: rangeHeader(range) }),
        ...(via === undefined ? {} : { via }),
        ...(authorization === undefined ? {} : { authorization }),
        ...signature,
      },
    });
    const { status, body } = response;
    if (PRESENT.has(status)) return response;
    if (ABSENT.has(status)) {
      await discardBody(body);
      return undefined;
    }
    const facts = await readRefusal('GET', response, this.#clock.now());
    if (status === LOOP_DETECTED && via !== undefined) throw new LoopError(base);
    if (status === 416) throw new HttpError('ERR_RANGE', 'the file is shorter than the range asked for', facts);
    // 202: it is being made, says a cache that makes NARs when asked. Nix tries again as well.
    const retryable = facts.retryable || status === 202;
    throw new HttpError('ERR_UPSTREAM', 'is no answer that a binary cache gives', { ...facts, retryable });
  }
}

/**
 * Where `url` of a narinfo may be, likeliest first. One that begins with '/' is meant from the cache by Nix before 2.32, and
 * from the root of the host by later ones.
 */
function locate(base: string, url: string): readonly URL[] {
  const root = `${base}/`;
  const isRooted = url.startsWith('/') && !url.startsWith('//');
  const texts = isRooted ? [`.${url}`, url] : [url];
  const urls = texts
    .flatMap((text) => URL.parse(text, root) ?? [])
    .filter(({ protocol }) => /^https?:$/.test(protocol));
  return urls.filter(({ href }, index) => urls.findIndex((each) => each.href === href) === index);
}

const rangeHeader = ({ offset, length }: OpenRange): string =>
  `bytes=${offset}-${length === undefined ? '' : offset + length - 1}`;

function toSourceFile(response: HttpResponse, range: OpenRange | undefined, codings: readonly string[]): SourceFile {
  const { body, headers, status, asked } = response;
  const etag = strongTagOf(headers);
  if (status !== 206) {
    const plain = decodeBody(body, codings, redactUrl(asked));
    // A server without ranges sends everything; what lies before is read and dropped.
    const slice = range === undefined ? plain : sliceStream(plain, range);
    return { body: slice, size: codings.length === 0 ? sizeOf(headers['content-length']) : undefined, etag };
  }
  const contentRange = headers['content-range'] ?? '';
  const [, first = '', last = '', total = ''] =
    /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/.exec(contentRange) ?? [];
  const size = sizeOf(total);
  const end = Number(last) + 1;
  const isWhole =
    range?.length === undefined ? size === undefined || end === size : end === range.offset + range.length;
  if (range === undefined || first === '' || Number(first) !== range.offset || !isWhole) {
    const { host, pathname } = response.url;
    throw new NixcacheError('ERR_UPSTREAM', `${host}${pathname}: the server sent the range '${contentRange}' instead`);
  }
  return { body, size, etag };
}

/** A weak one does not promise the same bytes. */
const strongTagOf = ({ etag }: HttpHeaders): string | undefined => (etag?.startsWith('"') ? etag : undefined);

const sizeOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;

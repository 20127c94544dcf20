/** A binary cache over HTTP. */

import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { Clock } from '../http/clock.ts';
import { HttpError, readRefusal } from '../http/http-error.ts';
import type { HttpFetch, HttpHeaders, HttpResponse } from '../http/http-fetch.ts';
import { discardBody } from '../http/redirects.ts';
import type { OpenRange } from '../streams/byte-range.ts';
import { sliceStream } from '../streams/slice-stream.ts';
import {
  type FileSource,
  type OpenFileOptions,
  resolveInside,
  type SourceFacts,
  type SourceFile,
} from './file-source.ts';
import type { UpstreamCache } from './upstream-cache.ts';

/** Not there, as Nix sees it: S3 answers 403 for what is absent. Source: NixOS/nix src/libstore/filetransfer.cc. */
const ABSENT: ReadonlySet<number> = new Set([403, 404, 410]);

export class HttpSource implements FileSource {
  readonly #cache: UpstreamCache;
  readonly #http: HttpFetch;
  readonly #clock: Pick<Clock, 'now'>;

  constructor(cache: UpstreamCache, http: HttpFetch, clock: Pick<Clock, 'now'>) {
    this.#cache = cache;
    this.#http = http;
    this.#clock = clock;
  }

  async open(url: string, { range, signal }: OpenFileOptions = {}): Promise<SourceFile | undefined> {
    const response = await this.#request('GET', url, range === undefined ? {} : { range: rangeHeader(range) }, signal);
    if (response === undefined) return undefined;
    try {
      return toSourceFile(response, range);
    } catch (error) {
      response.body.destroy();
      throw error;
    }
  }

  async stat(url: string, { signal }: CallOptions = {}): Promise<SourceFacts | undefined> {
    const response = await this.#request('HEAD', url, {}, signal);
    if (response === undefined) return undefined;
    await discardBody(response.body);
    return factsOf(response.headers, sizeOf(response.headers['content-length']));
  }

  async #request(
    method: 'GET' | 'HEAD',
    relative: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<HttpResponse | undefined> {
    const { url: base, authorization, timeoutMs } = this.#cache;
    const url = resolveInside(base, relative);
    if (url === undefined) return undefined;
    const response = await this.#http.request({
      ...{ method, url, timeoutMs, signal },
      headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    });
    if (response.status === 200 || response.status === 206) return response;
    if (ABSENT.has(response.status)) {
      await discardBody(response.body);
      return undefined;
    }
    const facts = await readRefusal(method, response, this.#clock.now());
    if (facts.status === 416) throw new HttpError('ERR_RANGE', 'the file is shorter than the range asked for', facts);
    throw new HttpError('ERR_UPSTREAM', 'is no answer that a binary cache gives', facts);
  }
}

const rangeHeader = ({ offset, length }: OpenRange): string =>
  `bytes=${offset}-${length === undefined ? '' : offset + length - 1}`;

function toSourceFile(response: HttpResponse, range: OpenRange | undefined): SourceFile {
  const { body, headers, status } = response;
  if (status === 200) {
    // A server without ranges sends everything; what lies before is read and dropped.
    const slice = range === undefined ? body : sliceStream(body, range);
    return { body: slice, ...factsOf(headers, sizeOf(headers['content-length'])) };
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
  return { body, ...factsOf(headers, size) };
}

function factsOf(headers: HttpHeaders, size: number | undefined): SourceFacts {
  const { etag, 'content-encoding': encoding } = headers;
  return {
    size,
    etag: etag?.startsWith('"') ? etag : undefined, // a weak one does not promise the same bytes
    encoding: encoding === 'identity' ? undefined : encoding,
  };
}

const sizeOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;

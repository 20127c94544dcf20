/** The `fetch` that octokit is given: our own HTTP client, so that proxies, deadlines and redirects are the same everywhere. */
import type { Readable } from 'node:stream';
import { NixcacheError } from '../errors.ts';
import type { HttpFetch, HttpMethod } from '../http/http-fetch.ts';
import { redactUrl } from '../http/http-fetch.ts';
import { discardBody } from '../http/redirects.ts';
import { isRetryable } from '../http/retry.ts';

export interface OctokitFetchOptions {
  readonly http: HttpFetch;
  /** Where the token may go. */
  readonly origin: string;
  /** Sees the headers of every answer. */
  readonly onHeaders: (headers: Headers) => void;
}

/** What octokit passes of a RequestInit. */
interface OctokitRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** 8 MiB: a page of 100 versions has some 100 KiB, and each tag at most 128 characters. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;
const TIMEOUT_MS = 60_000;

/** Its errors are the cause of those that octokit throws. */
export function octokitFetch({ http, origin, onHeaders }: OctokitFetchOptions) {
  return async (target: string, { method, headers, signal }: OctokitRequest): Promise<Response> => {
    const url = new URL(target);
    try {
      if (url.origin !== origin) {
        // The next page is a URL out of an answer, and octokit sends the token wherever that leads.
        throw new NixcacheError('ERR_NETWORK', `GitHub's API at ${origin} leads on to ${redactUrl(url)}: refused`);
      }
      const response = await http.request({
        ...{ url, headers, signal, timeoutMs: TIMEOUT_MS },
        method: method as HttpMethod,
      });
      const answered = new Headers();
      for (const [name, value] of Object.entries(response.headers)) {
        if (value !== undefined) answered.set(name, value);
      }
      onHeaders(answered);
      const { status } = response;
      // A redirect that was not followed, as of a DELETE: octokit would take it for success.
      if (status >= 300 && status < 400) {
        await discardBody(response.body);
        throw new NixcacheError('ERR_NETWORK', `${method} ${redactUrl(url)}: redirected (${status}), refused`);
      }
      const body = await readBody(response.body, url);
      return new Response(status === 204 || status === 205 ? null : body, { status, headers: answered });
    } catch (error) {
      if (!signal?.aborted && isRetryable(error)) throw error;
      // The one name that octokit passes on without trying again.
      throw Object.assign(new Error('final', { cause: error }), { name: 'AbortError' });
    }
  };
}

async function readBody(body: Readable, url: URL): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_BODY_BYTES) {
        throw new NixcacheError('ERR_NETWORK', `${redactUrl(url)}: an answer of more than ${MAX_BODY_BYTES} bytes`);
      }
    }
  } finally {
    body.destroy();
  }
  return Buffer.concat(chunks);
}

/** What a request is answered with, before its conditions are looked at and a `Response` is made of it. */

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { CallOptions } from '../call-options.ts';
import type { ByteRange } from '../streams/byte-range.ts';

/** Bytes that are fetched when they are sent. */
export interface FileBody {
  /** Bytes of the whole; undefined when only the end of the stream will tell. */
  readonly size: number | undefined;
  /** Each byte is checked before it comes, by digests that the cache itself has of its pieces: so a part costs no whole. */
  readonly isPiecewise?: boolean | undefined;
  /**
   * Opens the whole, or a `range` of it when `size` is known: as bytes, or as a stream that ends in an error unless it was
   * complete.
   *
   * @throws {NixcacheError} before anything was sent: ERR_NOT_FOUND and others
   */
  open(options: OpenOptions): Promise<Readable | Buffer>;
}

/** What is asked on behalf of a client. */
export interface AskOptions extends CallOptions {
  /** Whether the client may be sent to where the bytes lie. */
  readonly mayRedirect?: boolean | undefined;
  /** Value of the Via header for requests to other caches. */
  readonly via?: string | undefined;
}

export interface OpenOptions extends AskOptions {
  readonly signal: AbortSignal;
  readonly range?: ByteRange | undefined;
}

/** What goes onto the wire: `headers` are all there are but Date and Connection. */
export interface Reply {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body?: Answer['body'];
}

export interface Answer {
  readonly status: number;
  /** name, value, name, value: what Node writes without converting. Lengths and ranges are added when it is sent. */
  readonly headers: readonly string[];
  /** A string is ASCII. Of an answer without a body, undefined. */
  readonly body?: string | Buffer | FileBody | undefined;
  /** Strong, in quotes; answers with one take conditions. */
  readonly etag?: string | undefined;
  /** What is answered instead when the body could not be opened; undefined when there is nothing else. */
  readonly otherwise?: ((error: unknown) => Promise<Answer | undefined>) | undefined;
  /** The reply with all of it, for answers that are given often. */
  readonly whole?: Reply | undefined;
}

/** For what its URL determines: any cache may keep it for ever. */
export const IMMUTABLE = 'public, max-age=31536000, immutable';
/** For narinfos, which may gain signatures: five minutes, as long as an index is believed. */
export const SHORT_LIVED = 'public, max-age=300';
export const NO_STORE = 'no-store';

/** For a client that fetches it itself. What is signed in such a URL runs out: nobody keeps the answer. */
export const redirectAnswer = (to: URL): Answer => ({
  status: 307,
  headers: ['Location', to.href, 'Cache-Control', NO_STORE],
});

export const isFileBody = (body: Answer['body']): body is FileBody => typeof body === 'object' && 'open' in body;

/** Says its status and, where whoever asks can do something about it, what: `detail`, in ASCII. The rest is for the log. */
export function statusAnswer(status: keyof typeof PHRASES, headers: readonly string[] = [], detail?: string): Answer {
  const body = `${PHRASES[status]}${detail === undefined ? '' : `: ${detail}`}\n`;
  return { status, headers: [...PLAIN, 'Cache-Control', NO_STORE, ...headers], body };
}

const PHRASES = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
  508: 'Loop Detected',
} as const;
const PLAIN = ['Content-Type', 'text/plain; charset=utf-8', 'X-Content-Type-Options', 'nosniff'] as const;

export const NOT_FOUND: Answer = statusAnswer(404);

/** `text` with a strong entity tag over it: 120 bits of its SHA-256. */
export function textAnswer(text: string, contentType: string, cacheControl: string): Answer {
  return {
    status: 200,
    headers: ['Content-Type', contentType, 'Cache-Control', cacheControl, 'X-Content-Type-Options', 'nosniff'],
    body: ASCII.test(text) ? text : Buffer.from(text),
    etag: `"${createHash('sha256').update(text).digest('base64url').slice(0, 20)}"`,
  };
}

export function jsonAnswer(status: number, value: unknown): Answer {
  return {
    status,
    headers: ['Content-Type', 'application/json', 'Cache-Control', NO_STORE, 'X-Content-Type-Options', 'nosniff'],
    body: Buffer.from(`${JSON.stringify(value)}\n`),
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: -- the range of ASCII is meant
const ASCII = /^[\x00-\x7f]*$/;

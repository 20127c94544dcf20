/**
 * Answers with what is in store paths. Whoever made it, in a browser it is data: a page of it is shown in a sandbox, where it
 * runs no script, sends no form, loads nothing from elsewhere and is of no origin, so that it cannot reach ours.
 */
import { createHash } from 'node:crypto';
import type { NixHash } from '../../nix/hash.ts';
import { type Answer, type FileBody, IMMUTABLE, NO_STORE, SHORT_LIVED, textAnswer } from '../answer.ts';

const SANDBOX = [
  "default-src 'none'",
  "img-src 'self' data:",
  "style-src 'self' 'unsafe-inline'",
  "font-src 'self'",
  "media-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  'sandbox',
].join('; ');

/** What all of it is sent with. */
const guardsWith = (policy: string): readonly string[] => [
  ...['X-Content-Type-Options', 'nosniff'],
  ...['Content-Security-Policy', policy],
  ...['Referrer-Policy', 'no-referrer'],
];
const GUARDS = guardsWith(SANDBOX);

const TEXT = 'text/plain; charset=utf-8';

export interface FileFacts {
  readonly etag: string;
  readonly contentType: string;
  readonly executable: boolean;
  readonly body: FileBody;
  /** What is answered when it cannot be opened. */
  readonly otherwise: (error: unknown) => Promise<Answer>;
}

/** The tag of a file: of other contents, whatever they are, it is another. */
export const fileTag = (narHash: NixHash, names: readonly string[]): string =>
  `"${createHash('sha256')
    .update(JSON.stringify([narHash, ...names]))
    .digest('base64url')
    .slice(0, 27)}"`;

export function fileAnswer({ etag, contentType, executable, body, otherwise }: FileFacts): Answer {
  const mode = executable ? ['NAR-Executable', '1'] : [];
  const headers = ['Content-Type', contentType, 'Cache-Control', IMMUTABLE, ...GUARDS, ...mode];
  return { status: 200, headers, etag, body, otherwise };
}

/** For who has it already: what is asked for need not even be looked at. */
export const unchangedAnswer = (etag: string): Answer => ({
  ...{ status: 200, headers: ['Cache-Control', IMMUTABLE, ...GUARDS], etag },
});

/** `location` may hold for as long as the index is believed: a path that is published anew may have other links. */
export const redirectAnswer = (location: string): Answer => ({
  status: 302,
  headers: ['Location', location, 'Cache-Control', SHORT_LIVED, 'Content-Type', TEXT, ...GUARDS],
  body: Buffer.from(`${location}\n`),
});

/** A page that is made here of names that were not; `styles` is the source of its style sheet in the policy. */
export function pageAnswer(html: string, styles: string): Answer {
  const { headers: _, ...answer } = textAnswer(html, 'text/html', SHORT_LIVED);
  const policy = `default-src 'none'; style-src ${styles}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
  const headers = ['Content-Type', 'text/html; charset=utf-8', 'Cache-Control', SHORT_LIVED, 'Vary', 'Accept'];
  return { ...answer, headers: [...headers, ...guardsWith(policy)] };
}

/** `value` as JSON, in which no name commands a terminal or turns its line around. */
export function jsonPage(value: unknown): Answer {
  const json = JSON.stringify(value).replaceAll(/[\u007f-\u009f\u2028\u2029]|\p{Cf}/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`,
    ).join(''),
  );
  const answer = textAnswer(`${json}\n`, 'application/json', SHORT_LIVED);
  return { ...answer, headers: [...answer.headers, 'Vary', 'Accept'] };
}

/** `text` for people, with a reason that they may see. */
export const tellingAnswer = (status: number, text: string, headers: readonly string[] = []): Answer => ({
  status,
  headers: ['Content-Type', TEXT, 'Cache-Control', status === 200 ? SHORT_LIVED : NO_STORE, ...GUARDS, ...headers],
  body: Buffer.from(`${text}\n`),
});

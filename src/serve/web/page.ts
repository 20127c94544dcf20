/** What all pages have around them, and how they are sent. */
import { createHash } from 'node:crypto';
import { type Answer, IMMUTABLE, NO_STORE, textAnswer } from '../answer.ts';
import { type Html, type HtmlValue, html } from './html.ts';
import { ICON, STYLE } from './style.ts';

const versionOf = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 12);
const STYLE_VERSION = versionOf(STYLE);

/** Nothing runs, nothing comes from elsewhere, and no other page shows ours in a frame. Source: CSP level 3. */
const POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const HEADERS = ['Content-Security-Policy', POLICY, 'Referrer-Policy', 'no-referrer'] as const;
/** Asked for again each time, which costs no more than a 304 while nothing has changed. */
const REVALIDATED = 'no-cache';

/** The pages in the menu. */
export type Section = 'overview' | 'entries' | 'roots' | 'space' | 'retention' | 'upstreams';

const MENU: readonly (readonly [Section, string, string])[] = [
  ['overview', '', 'Overview'],
  ['entries', 'entries', 'Entries'],
  ['roots', 'roots', 'Roots'],
  ['space', 'space', 'Space'],
  ['retention', 'retention', 'Retention'],
  ['upstreams', 'upstreams', 'Upstreams'],
];

export interface Page {
  readonly title: string;
  /** The cache reference. */
  readonly cache: string;
  readonly root: string;
  readonly section?: Section | undefined;
  /** What was searched for. */
  readonly search?: string | undefined;
  /** Whether there are other caches behind this one. */
  readonly hasUpstreams: boolean;
  readonly version: string;
  readonly body: HtmlValue;
}

export function pageAnswer(page: Page, status: 200 | 404 = 200): Answer {
  const answer = textAnswer(documentOf(page), 'text/html; charset=utf-8', REVALIDATED);
  const headers = [...answer.headers, ...HEADERS];
  return status === 200 ? { ...answer, headers } : { ...answer, status, headers, etag: undefined };
}

export const styleAnswer = textAnswer(STYLE, 'text/css; charset=utf-8', IMMUTABLE);
export const iconAnswer = textAnswer(ICON, 'image/svg+xml', IMMUTABLE);

/** What is asked for is at the relative address `to`. */
export const elsewhere = (to: string): Answer => ({
  status: 303,
  headers: ['Location', to, 'Cache-Control', NO_STORE],
});

function documentOf({ title, cache, root, section, search = '', hasUpstreams, version, body }: Page): string {
  const link = ([id, path, text]: (typeof MENU)[number]): Html =>
    html`<li><a href="${root}/${path}"${id === section ? html` aria-current="page"` : ''}>${text}</a></li>`;
  return `<!DOCTYPE html>\n${html`<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title === cache ? title : `${title} · ${cache}`}</title>
<link rel="stylesheet" href="${root}/page.css?v=${STYLE_VERSION}">
<link rel="icon" type="image/svg+xml" href="${root}/icon.svg">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top"><div class="wide">
<a class="brand" href="${root}/" title="${cache}"><img src="${root}/icon.svg" alt="" width="22" height="22"> nixcache</a>
<nav aria-label="Pages"><ul>${MENU.filter(([id]) => hasUpstreams || id !== 'upstreams').map(link)}</ul></nav>
<form class="search" role="search" action="${root}/entries" method="get">
<label class="unseen" for="q">Search by name, hash or store path</label>
<input id="q" name="q" type="search" value="${search}" placeholder="Name, hash or store path" autocomplete="off" autocapitalize="off" spellcheck="false" maxlength="300">
<button type="submit">Search</button>
</form>
</div></header>
<main id="main" tabindex="-1"><div class="wide">
${body}
</div></main>
<footer><div class="wide"><p>nixcache ${version} · <a href="${root}/_status">status as JSON</a> · <a href="${root}/nix-cache-info">nix-cache-info</a> · <a href="${root}/public-key">public keys</a></p></div></footer>
</body>
</html>`}\n`;
}

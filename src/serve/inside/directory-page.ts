/** A directory of a store path as a page for people, or as JSON for programs. No script, and nothing but its own style sheet. */
import { createHash } from 'node:crypto';
import type { NarNode } from '../../nar/nar-listing.ts';
import { formatBytes, formatCount } from '../../quantity.ts';
import type { Answer } from '../answer.ts';
import { jsonPage, pageAnswer } from './file-answers.ts';
import { encodeName } from './store-target.ts';

export interface Directory {
  readonly entries: ReadonlyMap<string, NarNode>;
  /** What stands above it: the store path, then the names below it. */
  readonly trail: readonly string[];
  /** How the URL that was asked for ends: the links are relative to it, and so hold under whatever prefix. */
  readonly ending: { readonly hasSlash: boolean; readonly last: string };
  /** Where the cache's pages are, and which of them is about this path. */
  readonly about?: { readonly site: string; readonly hashPart: string } | undefined;
}

/** Ten thousand: what a browser still shows at once. JSON has all. */
const MAX_ROWS = 10_000;

export function directoryJson({ entries, trail }: Directory): Answer {
  const shallow = [...entries].map(([name, node]) => [name, shallowOf(node)] as const);
  // Not an object literal: a file may be called `__proto__`.
  return jsonPage({ path: trail.join('/'), type: 'directory', entries: Object.fromEntries(shallow) });
}

function shallowOf(node: NarNode): Readonly<Record<string, unknown>> {
  if (node.type === 'directory') return { type: 'directory' };
  if (node.type === 'symlink') return { type: 'symlink', target: node.target };
  return { type: 'regular', size: node.size, executable: node.executable };
}

export function directoryPage(directory: Directory): Answer {
  const { entries, trail, ending, about } = directory;
  const here = ending.hasSlash ? './' : `./${encodeName(ending.last)}/`;
  const rows: string[] = [];
  for (const [name, node] of entries) {
    if (rows.length === MAX_ROWS) break;
    rows.push(rowOf(name, node, here));
  }
  const count = formatCount(entries.size, 'entry', 'entries');
  const more = entries.size > MAX_ROWS ? `, of which the first ${MAX_ROWS} are shown` : '';
  const html = [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">',
    `<title>${shown(trail.join('/'))}</title><style>${STYLE}</style></head><body>`,
    `<header><nav aria-label="Path"><h1>${trailOf(trail, here)}</h1></nav><p>${count}${more}${about ? linksTo(about) : ''}</p></header>`,
    '<main><table><thead><tr><th scope="col">Name</th><th scope="col">Size</th><th scope="col">Kind</th></tr></thead>',
    `<tbody>${rows.join('')}</tbody></table></main></body></html>\n`,
  ];
  return pageAnswer(html.join('\n'), STYLE_SOURCE);
}

const linksTo = ({ site, hashPart }: { readonly site: string; readonly hashPart: string }): string =>
  ` · <a href="${site}path/${hashPart}">about this path</a> · <a href="${site}">this cache</a>`;

function rowOf(name: string, node: NarNode, here: string): string {
  const isDirectory = node.type === 'directory';
  const href = `${here}${encodeName(name)}${isDirectory ? '/' : ''}`;
  const link = `<a href="${href}"><bdi>${shown(name)}</bdi>${isDirectory ? '/' : ''}</a>`;
  const target = node.type === 'symlink' ? ` <span>→ <bdi>${shown(node.target)}</bdi></span>` : '';
  const size = node.type === 'regular' ? formatBytes(node.size) : '';
  return `<tr><td>${link}${target}</td><td>${size}</td><td>${kindOf(node)}</td></tr>\n`;
}

function kindOf(node: NarNode): string {
  if (node.type === 'directory') return 'directory';
  if (node.type === 'symlink') return 'link';
  return node.executable ? 'executable' : 'file';
}

function trailOf(trail: readonly string[], here: string): string {
  return trail
    .map((name, at) => {
      const up = trail.length - 1 - at;
      const text = `<bdi>${shown(name)}</bdi>`;
      return up === 0 ? `<span aria-current="page">${text}</span>` : `<a href="${here}${'../'.repeat(up)}">${text}</a>`;
    })
    .join('<wbr>/');
}

/** `text` as HTML; what would not be seen, or would turn the line around, by its number. */
const shown = (text: string): string =>
  text
    .replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

const STYLE = `
:root{color-scheme:light dark;--line:light-dark(#ddd,#3a3a3a);--dim:light-dark(#595959,#a8a8a8)}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem}
h1{font:600 1rem/1.5 ui-monospace,monospace;overflow-wrap:anywhere;margin:0}
header p,td+td,th+th,td span{color:var(--dim)}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600}
th,td{padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
td:nth-child(2){white-space:nowrap;font-variant-numeric:tabular-nums}
`;
const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;

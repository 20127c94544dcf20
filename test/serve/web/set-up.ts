/** A cache with a history, and its pages as a browser gets them. */
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { App } from '../../../src/serve/app.ts';
import { toRequest } from '../../../src/serve/node/listener.ts';
import type { ServeOptions } from '../../../src/serve/serve-options.ts';
import { CacheBuilder } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

export interface Shown {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface Site {
  readonly app: App;
  readonly cache: CacheBuilder;
  readonly reader: IndexReader;
  /** `url` is a path with its query. */
  see(url: string, headers?: Record<string, string>): Promise<Shown>;
  /** The same once all is counted. */
  seeCounted(url: string): Promise<Shown>;
}

/** At day 60, unless `now` says otherwise. */
export async function openSite(
  fill: (cache: CacheBuilder) => Promise<unknown>,
  options: Partial<ServeOptions> = {},
): Promise<Site> {
  const store = new MemoryStore();
  const cache = new CacheBuilder(store);
  await fill(cache);
  const reader = await IndexReader.open({ store, strict: false });
  const app = new App({ reader, now: () => day(60), ...options });
  await app.refresher.refresh();
  const see: Site['see'] = async (url, { method = 'GET', ...headers } = {}) => {
    const all = { Host: 'cache.test:1234', ...headers };
    const response = await app.fetch(toRequest({ method, url, rawHeaders: Object.entries(all).flat() }));
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const seeCounted: Site['seeCounted'] = async (url) => {
    for (;;) {
      const shown = await see(url);
      if (!shown.text.includes('being counted')) return shown;
    }
  };
  return { app, cache, reader, see, seeCounted };
}

/** `old` was published at day 0 and nothing keeps it; `app` at days 40 and 59, its first form pinned. */
export async function history(cache: CacheBuilder): Promise<void> {
  const common = { source: 'github:acme/shop', system: 'x86_64-linux' };
  await cache.publish({
    ...common,
    at: day(0),
    paths: [{ name: 'old-1.0', bytes: 5000 }],
    roots: [{ name: 'old', path: 'old-1.0' }],
  });
  await cache.publish({
    ...{ ...common, at: day(40) },
    paths: ['glibc-2.40', { name: 'app-1.0', references: ['glibc-2.40', 'left-behind-1.0'] }],
    roots: [{ name: 'app', path: 'app-1.0' }],
  });
  await cache.publish({
    ...{ ...common, at: day(59) },
    paths: [{ name: 'app-2.0', references: ['glibc-2.40'], bytes: 20_000 }],
    roots: [{ name: 'app', path: 'app-2.0' }],
  });
}

/** The rows of all tables, each as the texts of its cells. */
export const rowsOf = ({ text }: Shown): string[][] =>
  [...text.matchAll(/<tr[^>]*>(.*?)<\/tr>/gs)].map(([, row = '']) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/gs)].map(([, cell = '']) => textOf(cell)),
  );

export const textOf = (markup: string): string =>
  markup
    .replaceAll(/<\/(?:li|dt|dd|p|h[1-6]|div|section)>/g, ' ')
    .replaceAll(/<[^>]*>/g, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
    .trim();

/** The tags alone, without what their attributes hold, which is text. */
export const tagsOf = (text: string): string => text.replaceAll(/="[^"]*"/g, '=""').replaceAll(/>[^<]*</g, '><');

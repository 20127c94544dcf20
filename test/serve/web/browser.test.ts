/** The pages in a browser: whether everyone can use them, on whatever screen, and whether anything in them runs. */
import axe from 'axe-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IndexReader } from '../../../src/cache/read/index-reader.ts';
import { type RunningServer, startServer } from '../../../src/serve/node/server.ts';
import { Browser, type View } from '../../support/browser.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../../support/cache-builder.ts';
import { MemoryStore } from '../../support/memory-store.ts';

const HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e';
const LONG = `a-name-without-end-${'and-then-some-'.repeat(12)}1.0`;
const VIEWS: readonly View[] = [
  { width: 1280, scheme: 'light' },
  { width: 390, scheme: 'dark' },
  { width: 320, scheme: 'light' },
];
const q = encodeURIComponent;
const PAGES = [
  '/',
  '/entries',
  '/entries?q=nothing-is-called-so',
  `/entries?q=${q(HOSTILE)}`,
  '/roots',
  `/root?name=${q(HOSTILE)}&source=${q(HOSTILE)}&system=${q(HOSTILE)}`,
  '/space',
  '/retention',
  '/upstreams',
  `/path/${hashPartFor('lib-1.0')}`,
  `/path/${hashPartFor(LONG)}`,
  `/path/${hashPartFor('nowhere')}`,
];

describe('the pages in a browser', () => {
  let browser: Browser;
  let server: RunningServer;

  beforeAll(async () => {
    const store = new MemoryStore();
    const cache = new CacheBuilder(store);
    const ago = (days: number): Date => new Date(Date.now() - days * 86_400_000);
    const many = Array.from({ length: 120 }, (_, i) => ({
      name: `p${i}-1.${i}`,
      references: ['lib-1.0'],
      bytes: 100 * i,
    }));
    await cache.publish({ at: ago(90), paths: [{ name: 'old-1.0', bytes: 3000 }] });
    await cache.publish({
      ...{ at: ago(1), source: HOSTILE, system: HOSTILE, publicKeys: [HOSTILE] },
      paths: ['lib-1.0', ...many, { name: LONG, references: ['lib-1.0', 'elsewhere-1.0'], bytes: 50_000 }],
      roots: [{ name: HOSTILE, path: LONG, system: HOSTILE }],
      pins: [{ name: HOSTILE, path: baseNameFor('lib-1.0'), time: 1 }],
    });
    const reader = await IndexReader.open({ store, strict: false });
    server = await startServer({ reader, port: 0, drainMs: 1000, onEvent: () => {} });
    browser = await Browser.start();
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  it.each(VIEWS)('are for everyone, and fit, $width pixels wide and $scheme', async (view) => {
    for (const page of PAGES) {
      await browser.open(`${server.url}${page}`, view);
      await browser.evaluate(axe.source);
      const found = await browser.evaluate<readonly string[]>(
        'axe.run(document).then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes[0].html))',
      );
      expect({ page, found }).toEqual({ page, found: [] });
      const width = await browser.evaluate('document.documentElement.scrollWidth');
      expect({ page, width }).toEqual({ page, width: view.width });
      const isMissing = page.endsWith(hashPartFor('nowhere'));
      expect({ page, complaints: isMissing ? [] : browser.complaints }).toEqual({ page, complaints: [] });
      expect(await browser.evaluate('document.querySelectorAll("script, iframe, [onerror], img[src=x]").length')).toBe(
        0,
      );
    }
  });

  it('are gone through with the keyboard: past the menu to the content, and to what is searched for', async () => {
    await browser.open(server.url, { width: 1280, scheme: 'light' });
    await browser.press('Tab');
    expect(await browser.evaluate('document.activeElement.textContent')).toBe('Skip to the content');
    const outline = 'getComputedStyle(document.activeElement).outlineStyle';
    expect(await browser.evaluate(outline)).toBe('solid');
    await browser.press('Enter');
    expect(await browser.evaluate('document.activeElement.id')).toBe('main');
    await browser.evaluate('document.querySelector("#q").focus(); document.querySelector("#q").value = "p7-1"');
    await browser.press('Enter');
    await expect.poll(() => browser.evaluate('location.search + document.readyState')).toBe('?q=p7-1complete');
    expect(await browser.evaluate('document.querySelectorAll("tbody tr").length')).toBe(1);
  });

  it('would tell if something did run', async () => {
    await browser.open('data:text/html,<script>nothing()</script>', { width: 1280, scheme: 'light' });
    expect(browser.complaints).toEqual([expect.stringContaining('nothing is not defined')]);
  });
});

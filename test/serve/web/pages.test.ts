import { describe, expect, it } from 'vitest';
import { generateKey, parsePublicKey, parseSecretKey, signPathInfo } from '../../../src/nix/signature.ts';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { noise } from '../../support/bytes.ts';
import { baseNameFor, hashPartFor } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { narOf } from '../../support/nar.ts';
import { NASTY } from '../../support/nasty-strings.ts';
import { newKey, setUpApp } from '../set-up.ts';
import { open } from '../upstream-set-up.ts';
import { history, openSite, rowsOf, tagsOf, textOf } from './set-up.ts';

const PAGES = [
  '/',
  '/entries',
  '/roots',
  '/space',
  '/retention',
  '/upstreams',
  '/root?name=app&source=github%3Aacme%2Fshop&system=x86_64-linux',
  `/path/${hashPartFor('app-2.0')}`,
];

describe('a page', () => {
  it.each(PAGES)('%s runs nothing, loads nothing from elsewhere, and is asked for anew each time', async (url) => {
    const { seeCounted, see } = await openSite(history);
    const shown = await seeCounted(url);
    expect(shown.status).toBe(200);
    expect(shown.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(shown.headers.get('content-security-policy')).toBe(
      "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    expect(shown.headers.get('x-content-type-options')).toBe('nosniff');
    expect(shown.headers.get('cache-control')).toBe('no-cache');
    expect(tagsOf(shown.text)).not.toMatch(/<script|<style|\sstyle=|\son\w+=/i);
    for (const [, target = ''] of shown.text.matchAll(/(?:href|src|action)="([^"]*)"/g)) {
      expect(target).toMatch(/^(?:#|$|\.\.?\/)/);
    }
    const head = await see(url, { method: 'HEAD' });
    expect([head.status, head.text]).toEqual([200, '']);
    expect([...head.headers]).toEqual([...shown.headers]);
    const again = await see(url, { 'If-None-Match': shown.headers.get('etag') ?? '' });
    expect([again.status, again.text]).toEqual([304, '']);
    expect((await see(url, { method: 'POST' })).status).toBe(405);
  });

  it.each(PAGES)(
    '%s has one heading of the first rank, a title, and no link of its own that leads nowhere',
    async (url) => {
      const { seeCounted, see } = await openSite(history);
      const { text } = await seeCounted(url);
      expect(text.match(/<h1/g)).toHaveLength(1);
      expect(text).toMatch(/<title>[^<]+<\/title>/);
      expect(text).toMatch(/^<!DOCTYPE html>\n<html lang="en">/);
      const depth = url.startsWith('/path/') ? '..' : '.';
      const links = new Set([...text.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, link = '']) => link));
      for (const link of links) {
        if (link === '#main') continue;
        expect(link.startsWith(`${depth}/`)).toBe(true);
        const target = link.slice(depth.length).replaceAll('&amp;', '&');
        if (target.startsWith('/nix/store/') || target === '/public-key') continue;
        expect([link, (await see(target)).status]).toEqual([link, 200]);
      }
    },
  );

  it('is 401 without a token where there are tokens, and private with one', async () => {
    const access = {
      tokens: new Tokens(parseTokens('reader read secret', { name: 't', scopes: ['read'] })),
      isPrivate: true,
    };
    const { see } = await openSite(history, { access });
    for (const url of [...PAGES, '/page.css', '/icon.svg']) {
      const refused = await see(url);
      expect([url, refused.status, refused.text]).toEqual([url, 401, expect.stringContaining('no token was shown')]);
      const { status, headers } = await see(url, { Authorization: 'Bearer secret' });
      expect([url, status, headers.get('vary')]).toEqual([url, 200, 'Authorization']);
      expect(headers.get('cache-control')).not.toContain('public');
    }
    const { text } = await see('/', { Authorization: 'Bearer secret' });
    expect(text).toContain('machine cache.test login any password TOKEN');
  });

  it('has a sheet and an icon that may be kept for ever', async () => {
    const { see } = await openSite(history);
    const { text } = await see('/');
    const sheet = /href="\.(\/page\.css\?v=[\w-]+)"/.exec(text)?.[1] ?? '';
    expect((await see(sheet)).headers.get('content-type')).toBe('text/css; charset=utf-8');
    expect((await see(sheet)).headers.get('cache-control')).toContain('immutable');
    expect((await see('/icon.svg')).headers.get('content-type')).toBe('image/svg+xml');
  });

  it('says that there is nothing yet, before the first index and in an empty cache', async () => {
    const { ask } = setUpApp();
    const unread = await ask('/');
    expect([unread.status, String(unread.body)]).toEqual([200, expect.stringContaining('No index yet')]);
    const { see } = await openSite(async () => {});
    expect((await see('/')).text).toContain('Nothing was published to this cache yet.');
    for (const url of ['/entries', '/roots', '/space', '/retention']) expect((await see(url)).status).toBe(200);
    expect((await see('/entries?q=x')).text).toContain('No store path in this cache matches.');
  });

  it('says so where the cache cannot be looked at as a whole', async () => {
    const { ask, reader, app } = setUpApp();
    reader.add({ baseName: baseNameFor('app-1.0'), nar: noise(100, 1) });
    await app.refresher.refresh();
    expect(String((await ask('/')).body)).toContain('could not be counted');
    expect(String((await ask(`/path/${hashPartFor('app-1.0')}`)).body)).toContain('app-1.0</h1>');
  });
});

describe('the first page', () => {
  it('tells what the cache is, and how to use it, by the address that it was asked for at', async () => {
    const key = generateKey('cache.test-1').public;
    const { seeCounted, see } = await openSite(async (cache) => {
      await history(cache);
      await cache.publish({ at: day(59), publicKeys: [key] });
    });
    const { text } = await seeCounted('/');
    expect(text).toContain(`extra-substituters = http://cache.test:1234\nextra-trusted-public-keys = ${key}`);
    expect(text).toMatch(/Store paths<\/dt><dd>4</);
    expect(text).toContain('Index current');
    const behind = await see('/', {
      Host: 'internal:1',
      'X-Forwarded-Host': 'cache.example.org',
      'X-Forwarded-Proto': 'https',
    });
    expect(behind.text).toContain('extra-substituters = https://cache.example.org\n');
  });

  it('tells of no key that this server does not trust, and that it serves what others have signed not at all', async () => {
    const [trusted, evil] = [newKey('trusted-1').publicKey, newKey('evil-1').publicKey];
    const { seeCounted } = await openSite(
      async (cache) => {
        await history(cache);
        await cache.publish({ at: day(59), publicKeys: [evil.text] });
      },
      { trustedPublicKeys: [trusted] },
    );
    const { text } = await seeCounted('/');
    expect(text).toContain(`extra-trusted-public-keys = ${trusted.text}\n`.trimEnd());
    expect(text).not.toContain('evil-1');
    expect(text).toMatch(/In the index<\/dt><dd>4</);
    expect(textOf(text)).toContain('Only what trusted-1 has signed is served.');
  });

  it.each(['a b', 'x"><script>', '-', '[', 'user@host', 'a/b', ''])(
    'passes over a host that is none: %j',
    async (host) => {
      const { see } = await openSite(history);
      const { text } = await see('/', { 'X-Forwarded-Host': host, 'X-Forwarded-Proto': 'https' });
      expect(text).toContain('extra-substituters = https://THIS-HOST');
      expect(text).not.toContain('<script');
    },
  );

  it('tells of upstreams as /_status does', async () => {
    const upstream = open('http://127.0.0.1:9/');
    const { see } = await openSite(history, { upstreams: [upstream] });
    expect(rowsOf(await see('/upstreams'))[1]?.slice(0, 2)).toEqual([upstream.name, 'not asked yet']);
    await upstream.fetchCacheInfo().catch(() => undefined);
    expect(rowsOf(await see('/upstreams'))[1]?.[1]).toMatch(/^fail/);
  });
});

describe('entries', () => {
  it('are listed by name, size or age, with their closures', async () => {
    const { seeCounted } = await openSite(history);
    const names = async (url: string) =>
      rowsOf(await seeCounted(url))
        .slice(1)
        .map(([path = '']) => path.split(' ')[0]);
    expect(await names('/entries')).toEqual(['app-1.0', 'app-2.0', 'glibc-2.40', 'old-1.0']);
    expect((await names('/entries?sort=size')).slice(0, 2)).toEqual(['app-2.0', 'old-1.0']);
    expect((await names('/entries?sort=newest')).at(-1)).toBe('old-1.0');
    expect(rowsOf(await seeCounted('/entries'))[2]?.at(3)).toMatch(/^19\.\d KiB 2 paths$/);
  });

  it.each([
    ['app', ['app-1.0', 'app-2.0']],
    ['APP 2', ['app-2.0']],
    ['2.0 a', ['app-2.0']],
    [hashPartFor('old-1.0').slice(0, 5), ['old-1.0']],
    ['nothing-like-it', []],
    ['%', []],
    ['\n', ['app-1.0', 'app-2.0', 'glibc-2.40', 'old-1.0']],
  ])('are found by %j', async (q, expected) => {
    const { seeCounted } = await openSite(history);
    const shown = await seeCounted(`/entries?q=${encodeURIComponent(q)}`);
    expect(
      rowsOf(shown)
        .slice(1)
        .map(([path = '']) => path.split(' ')[0]),
    ).toEqual(expected);
  });

  it.each([
    baseNameFor('app-1.0'),
    hashPartFor('app-1.0'),
    `/nix/store/${baseNameFor('app-1.0')}`,
    `/nix/store/${baseNameFor('app-1.0')}/bin/app`,
    `${hashPartFor('app-1.0')}.narinfo`,
  ])('that are named in full (%s) are gone to', async (q) => {
    const { see } = await openSite(history);
    const { status, headers } = await see(`/entries?q=${encodeURIComponent(q)}`);
    expect([status, headers.get('location')]).toEqual([303, `path/${hashPartFor('app-1.0')}`]);
  });

  it('come a page at a time, and a page that is not there is the nearest one', async () => {
    const names = Array.from({ length: 120 }, (_, i) => `p${String(i).padStart(3, '0')}`);
    const { seeCounted } = await openSite((cache) => cache.publish({ at: day(1), paths: names }));
    const shown = async (page: string): Promise<(string | undefined)[]> => {
      const rows = rowsOf(await seeCounted(`/entries?page=${page}`))
        .slice(1)
        .map(([path]) => path?.split(' ')[0]);
      return [rows[0], rows.at(-1)];
    };
    expect(await shown('1')).toEqual(['p000', 'p049']);
    expect(await shown('3')).toEqual(['p100', 'p119']);
    for (const page of ['4', '99999999', '100000000000000000000']) {
      expect(await shown(page)).toEqual(page.length > 9 ? ['p000', 'p049'] : ['p100', 'p119']);
    }
    for (const page of ['0', '-1', 'x', '', '1.5', '%00', '1e3']) expect(await shown(page)).toEqual(['p000', 'p049']);
    const { text } = await seeCounted('/entries?q=p&page=2&sort=size');
    expect(textOf(text)).toContain('51–100 of 120');
    expect(text).toContain('href="./entries?q=p&amp;sort=size&amp;page=3"');
  });
});

describe('the page of a path', () => {
  it('tells its facts, its references both ways, and why it is kept', async () => {
    const { seeCounted } = await openSite(history);
    const { text } = await seeCounted(`/path/${hashPartFor('glibc-2.40')}`);
    const told = textOf(text);
    expect(told).toContain(`/nix/store/${baseNameFor('glibc-2.40')}`);
    expect(told).toMatch(/Kept by the root app, of the newest publish, 1 day ago, through app-2\.0/);
    expect(told).toMatch(/Referred to by 2 app-1\.0 \w{8}… app-2\.0/);
    expect(told).toMatch(/Refers to 0 No other path\./);
    expect(told).toMatch(/In the closure of roots 1 app/);
    expect(text).toContain(`href="../nix/store/${baseNameFor('glibc-2.40')}"`);
    expect(text).toContain(`href="../${hashPartFor('glibc-2.40')}.narinfo"`);
    const app = textOf((await seeCounted(`/path/${hashPartFor('app-1.0')}`)).text);
    expect(app).toContain('left-behind-1.0 elsewhere');
    expect(app).toContain('1 reference to paths that are not in this cache');
    const old = textOf((await seeCounted(`/path/${hashPartFor('old-1.0')}`)).text);
    expect(old).toContain(
      'Would be dropped by a gc that ran now: nothing that it keeps needs it. In the closure of roots 1 old',
    );
  });

  it('tells signatures of known keys from others, and what is not served', async () => {
    const [known, other] = [generateKey('known-1'), generateKey('other-1')].map((key) => parseSecretKey(key.secret));
    if (!known || !other) throw new Error('no keys');
    const { app, ask, reader } = setUpApp({ trustedPublicKeys: [parsePublicKey(known.publicKey.text)] });
    const signed = reader.add({ baseName: baseNameFor('a'), nar: noise(9, 1), keys: [known, other] });
    reader.add({ baseName: baseNameFor('b'), nar: noise(9, 2), keys: [other] });
    const forged = signPathInfo({ ...signed.narInfo, narSize: 1 }, known);
    Object.assign(signed.narInfo, { sigs: [...signed.narInfo.sigs, forged] });
    await app.refresher.refresh();
    const a = textOf(String((await ask(`/path/${hashPartFor('a')}`)).body));
    expect(a).toMatch(/known-1 verified other-1 unknown key known-1 does not verify/);
    expect(a).not.toContain('not served');
    const b = String((await ask(`/path/${hashPartFor('b')}`)).body);
    expect(textOf(b)).toContain('This path is not served.');
    expect(b).not.toContain(`href="../${hashPartFor('b')}.narinfo"`);
  });

  it('leads to what it has: the path, its narinfo and its NAR, and to no log, which it has not', async () => {
    const { ask, reader, app } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseNameFor('a'), nar: narOf({ contents: 'a' }) });
    Object.assign(narInfo, { deriver: baseNameFor('a.drv') });
    await app.refresher.refresh();
    const [, actions = ''] =
      /<ul class="actions">(.*?)<\/ul>/.exec(String((await ask(`/path/${hashPartFor('a')}`)).body)) ?? [];
    const links = [...actions.matchAll(/href="\.\.([^"]+)"/g)].map(([, link = '']) => link);
    expect(links).toHaveLength(3);
    for (const link of links) expect([link, (await ask(link)).status]).toEqual([link, 200]);
  });

  it('is 404 for a path that is not there, and plain for what is no hash', async () => {
    const { see } = await openSite(history);
    const missing = await see(`/path/${hashPartFor('nowhere')}`);
    expect([missing.status, missing.headers.get('content-type')]).toEqual([404, 'text/html; charset=utf-8']);
    for (const url of ['/path/', '/path/x', `/path/${'e'.repeat(32)}`, `/path/${hashPartFor('app-1.0')}/x`]) {
      expect([url, (await see(url)).text]).toEqual([url, 'Not Found\n']);
    }
  });
});

describe('roots, pins and retention', () => {
  it('tell what stands for a name, and stood before', async () => {
    const { seeCounted } = await openSite(async (cache) => {
      await history(cache);
      await cache.publish({
        at: day(59),
        pins: [{ name: 'release', path: baseNameFor('app-1.0'), time: day(41).getTime() / 1000 }],
      });
    });
    const roots = rowsOf(await seeCounted('/roots'));
    expect([roots[1]?.at(0), roots[1]?.at(2)]).toEqual(['appgithub:acme/shop', 'x86_64-linux']);
    expect(roots[1]?.at(4)).toBe('1 day ago 2 publishes');
    expect(roots.at(-1)?.[0]).toBe('release');
    const rows = rowsOf(await seeCounted('/root?name=app&source=github%3Aacme%2Fshop&system=x86_64-linux')).slice(1);
    expect(rows.map(([time, path, , kept]) => [time, path?.split(' ')[0], kept])).toEqual([
      ['1 day ago', 'app-2.0', 'Newest publish'],
      ['20 days ago', 'app-1.0', 'Published within the retention'],
    ]);
    expect((await seeCounted('/root?name=nobody')).status).toBe(404);
    expect((await seeCounted('/root')).status).toBe(404);
  });

  it('tell what gc would keep, and drop, by the retention that is configured, or that the last gc had', async () => {
    const { seeCounted } = await openSite(async (cache) => {
      await cache.publish({ at: day(0), paths: ['gone'] });
      await history(cache);
    });
    const shown = await seeCounted('/retention');
    expect(rowsOf(shown).at(-1)?.[0]).toMatch(/^gone/);
    expect(textOf(shown.text)).toContain('a retention of 30 days');
    const longer = await openSite(history, { retention: { retainSeconds: 90 * 86_400, keepLast: 3 } });
    const text = textOf((await longer.seeCounted('/retention')).text);
    expect(text).toContain('a retention of 90 days and the last 3 publishes of each root');
    expect(text).toContain('Nothing: all of it is needed.');
  });
});

describe('what is hostile', () => {
  it('in names, sources, keys, systems and queries stays text', async () => {
    const nasty = [...NASTY, '"><script>alert(1)</script>', "' onmouseover='x", '</title><img src=x onerror=alert(1)>'];
    const { seeCounted } = await openSite(async (cache) => {
      await cache.publish({ at: day(58), paths: ['app-1.0'] });
      for (const [i, text] of nasty.entries()) {
        await cache.publish({
          ...{ at: day(59), source: text, publicKeys: [`${text}:AAAA`], index: i === 0 },
          roots: [{ name: text, path: 'app-1.0', system: text }],
          pins: [{ name: text, path: baseNameFor('app-1.0'), time: 1 }],
        });
      }
    });
    const urls = ['/', '/roots', '/retention', `/path/${hashPartFor('app-1.0')}`];
    for (const text of nasty) {
      const q = encodeURIComponent(text);
      urls.push(`/entries?q=${q}`, `/entries?sort=${q}&page=${q}`, `/root?name=${q}&source=${q}&system=${q}`);
    }
    for (const url of urls) {
      const shown = await seeCounted(url);
      expect([200, 303, 404]).toContain(shown.status);
      expect(tagsOf(shown.text)).not.toMatch(/<(?:script|iframe)|\son\w+=|\sstyle=/i);
      expect(shown.text).not.toMatch(/<img (?!src="\.)/);
      expect(shown.text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}\u2028\u2029]/u);
      for (const [, target = ''] of shown.text.matchAll(/(?:href|src|action)="([^"]*)"/g)) {
        expect(target).toMatch(/^(?:#|$|\.\.?\/)/);
      }
    }
  });
});

import { describe, expect, it } from 'vitest';
import { parseTokens, Tokens } from '../../src/serve/tokens.ts';
import { noise } from '../support/bytes.ts';
import { baseName, bodyOf, hashPart, headerOf, setUpApp } from './set-up.ts';

const FILE = 'reader read r\nci read,push c\npusher push p\nroot admin a';
const access = (text = FILE, isPrivate = true) => ({
  tokens: new Tokens(parseTokens(text, { name: 'token', scopes: ['read'] })),
  isPrivate,
});
const AS = (token: string) => ({ Authorization: `Bearer ${token}` });

/** All that a cache answers, and what it answers nothing to. */
const PATHS = [
  '/nix-cache-info',
  `/${hashPart(1)}.narinfo`,
  `/%${hashPart(1).charCodeAt(0).toString(16)}${hashPart(1).slice(1)}.narinfo`,
  `/${hashPart(2)}.narinfo`,
  `/${hashPart(1)}.ls`,
  '/nar/x.nar',
  '/public-key',
  '/_status',
  '/realisations/x',
  '/',
  '/nowhere',
  '/%00',
  '/health/',
  '//health',
];

describe('a private cache', () => {
  it.each(PATHS)('answers %s with a challenge to who shows no token, or another', async (path) => {
    const { ask, reader } = setUpApp({ access: access() });
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']) {
      for (const headers of [{}, AS('x'), AS('')]) {
        const reply = await ask(path, { method, ...headers });
        expect([method, reply.status]).toEqual([method, 401]);
        expect(headerOf(reply, 'www-authenticate')).toBe('Basic realm="nixcache", charset="UTF-8"');
        expect(headerOf(reply, 'cache-control')).toBe('no-store');
      }
    }
    expect(reader.lookUps).toBe(0);
  });

  it('is alive for everyone', async () => {
    const { ask } = setUpApp({ access: access() });
    expect((await ask('/health')).headers.get('www-authenticate')).toBeNull();
  });

  it('answers who may read, and keeps others that share a cache from it', async () => {
    const { ask, reader, app } = setUpApp({ access: access(), publicKeys: ['k:1'] });
    const nar = noise(200_000, 1);
    const { narInfo } = reader.add({ baseName: baseName(1), nar });
    await app.refresher.refresh();
    for (const path of ['/nix-cache-info', `/${hashPart(1)}.narinfo`, `/${hashPart(1)}.narinfo`, '/public-key']) {
      const reply = await ask(path, AS('r'));
      expect([path, reply.status]).toEqual([path, 200]);
      expect(headerOf(reply, 'cache-control')).toBe('private, max-age=300');
      expect(headerOf(reply, 'vary')).toBe('Authorization');
    }
    const reply = await ask(`/${narInfo.url}`, AS('c'));
    expect(headerOf(reply, 'cache-control')).toBe('private, max-age=31536000, immutable');
    expect(headerOf(reply, 'vary')).toBe('Authorization');
    expect(await bodyOf(reply.body)).toEqual(nar);
    const part = await ask(`/${narInfo.url}`, { ...AS('c'), Range: 'bytes=0-9' });
    expect([part.status, headerOf(part, 'vary')]).toEqual([206, 'Authorization']);
  });

  it('is refused to tokens of other scopes', async () => {
    const { ask } = setUpApp({ access: access() });
    expect((await ask('/nix-cache-info', AS('p'))).status).toBe(403);
    expect((await ask('/nix-cache-info', AS('a'))).status).toBe(403);
    expect((await ask('/x.narinfo', { method: 'PUT', ...AS('r') })).status).toBe(403);
    expect((await ask('/_refresh', { method: 'POST', ...AS('r') })).status).toBe(403);
    expect((await ask('/%5frefresh', { method: 'POST', ...AS('r') })).status).toBe(403);
    expect((await ask('/metrics', AS('r'))).status).toBe(403);
    expect((await ask('/_refresh', { method: 'POST', ...AS('a') })).status).toBe(200);
  });
});

describe('a public cache with tokens', () => {
  it('is read by everyone, whatever they show, and kept by every cache', async () => {
    const { ask, reader } = setUpApp({ access: access(FILE, false) });
    reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    for (const headers of [{}, AS('x'), AS('p')]) {
      const reply = await ask(`/${hashPart(1)}.narinfo`, headers);
      expect([reply.status, headerOf(reply, 'cache-control')]).toEqual([200, 'public, max-age=300']);
      expect(headerOf(reply, 'vary')).toBeUndefined();
    }
  });

  it('asks who puts something into it for a token', async () => {
    const { ask } = setUpApp({ access: access(FILE, false) });
    expect((await ask('/x.narinfo', { method: 'PUT' })).status).toBe(401);
    expect((await ask('/x.narinfo', { method: 'PUT', ...AS('r') })).status).toBe(403);
  });

  it('keeps what is for who runs it for them, where there are such', async () => {
    const { ask } = setUpApp({ access: access(FILE, false) });
    expect((await ask('/_refresh', { method: 'POST' })).status).toBe(401);
    const other = setUpApp({ access: access('ci push x', false) });
    expect((await other.ask('/_refresh', { method: 'POST' })).status).toBe(200);
  });
});

describe('a refusal', () => {
  it('says what is missing and where it goes, and holds no token', async () => {
    const { ask } = setUpApp({ access: access('laptop read r\nci push c') });
    const said = async (path: string, headers: Record<string, string>) => String((await ask(path, headers)).body);
    expect(await said('/', {})).toBe(
      'Unauthorized: no token was shown; put it into netrc (machine HOST login any password TOKEN), or show it as a Bearer\n',
    );
    expect(await said('/', AS('wrong-one'))).toBe(
      'Unauthorized: the token that was shown is none of this cache; is it out of date, or of another one?\n',
    );
    expect(await said('/nar/x.nar', { method: 'PUT', ...AS('r') })).toBe(
      'Forbidden: the token laptop may read, and not push; ask whoever runs this cache for one that may\n',
    );
    expect(await said('/', AS('c'))).toContain('the token ci may push, and not read');
  });

  it('is told of once a minute for each reason, with how often it was so', async () => {
    let now = new Date('2026-11-20T12:00:00Z');
    const { ask, events } = setUpApp({ access: access('laptop read r'), now: () => now });
    for (let i = 0; i < 5; i++) await ask(`/a${i}`, AS(`wrong-${i}`));
    await ask('/_refresh', { method: 'POST', ...AS('r') });
    const wrong = { type: 'request-refused', status: 401, reason: expect.stringContaining('none of this cache') };
    const forbidden = { type: 'request-refused', status: 403, reason: expect.stringContaining('token laptop') };
    expect(events).toEqual([
      { ...wrong, method: 'GET', path: '/a0', before: 0 },
      { ...forbidden, method: 'POST', path: '/_refresh', before: 0 },
    ]);
    now = new Date('2026-11-20T12:01:00Z');
    await ask('/b', AS('wrong'));
    expect(events.slice(2)).toEqual([{ ...wrong, method: 'GET', path: '/b', before: 4 }]);
    expect(JSON.stringify(events)).not.toContain('wrong-0');
  });
});

/** Hosts that show one store path each. */
import { describe, expect, it } from 'vitest';
import { Tokens } from '../../../src/serve/tokens.ts';
import { narOf } from '../../support/nar.ts';
import { baseName, bodyOf, hashPart, headerOf, setUpApp } from '../set-up.ts';

const HOST = `${hashPart(1)}.cache.example.org`;
const NAR = narOf({
  entries: [
    [`${hashPart(1)}.narinfo`, { contents: 'a file' }],
    ['health', { contents: 'well' }],
    ['index.html', { contents: '<h1>site</h1>' }],
    ['link', { target: `/nix/store/${baseName(2)}/x` }],
    ['root', { target: `/nix/store/${baseName(1)}` }],
    ['sub', { entries: [['up', { target: '../health' }]] }],
  ],
});

function setUpHost(options = {}) {
  const app = setUpApp({ storeHost: 'cache.example.org', ...options });
  app.reader.add({ baseName: baseName(1), nar: NAR });
  const get = async (path: string, host = HOST, headers = {}) => {
    const reply = await app.ask(path, { Host: host, ...headers });
    return { ...reply, text: String(await bodyOf(reply.body)) };
  };
  return { ...app, get };
}

describe('a host of a path', () => {
  it.each([HOST, `${HOST}:8080`, HOST.toUpperCase()])('shows the files of that path: %s', async (host) => {
    const { get } = setUpHost();
    const reply = await get('/health', host);
    expect([reply.status, reply.text]).toEqual([200, 'well']);
    expect((await get(`/${hashPart(1)}.narinfo`, host)).text).toBe('a file');
    expect((await get('/nix-cache-info', host)).status).toBe(404);
    expect((await get('/_refresh', host)).status).toBe(404);
  });

  it('shows the page of a directory, or what is in it', async () => {
    const { get } = setUpHost();
    const page = await get('/');
    expect([page.status, page.text]).toEqual([200, '<h1>site</h1>']);
    expect(headerOf(page, 'content-security-policy')).toMatch(/(?:^|; )sandbox$/);
    expect((await get('/', HOST, { Accept: 'application/json' })).text).toContain('"health"');
    expect((await get('/sub')).text).toContain('href="./sub/up"');
    expect((await get('/sub/')).text).toContain('href="./up"');
  });

  it.each([
    ['/sub/up', '/health'],
    ['/root', '/'],
    ['/root/', '/'],
    ['/root/sub/', '/sub/'],
    ['/link', `//${hashPart(2)}.cache.example.org:81/x`],
  ])('leads %s to %s', async (path, location) => {
    const reply = await setUpHost().get(path, `${HOST}:81`);
    expect([reply.status, headerOf(reply, 'location')]).toEqual([302, location]);
  });

  it.each([
    'cache.example.org',
    `${hashPart(1)}.example.org`,
    `x.${HOST}`,
    `${hashPart(1)}.cache.example.org.evil.example`,
    `${'e'.repeat(32)}.cache.example.org`,
  ])('is no other: %s', async (host) => {
    expect((await setUpHost().get('/nix-cache-info', host)).status).toBe(200);
  });

  it('is none where none was asked for', async () => {
    expect((await setUpHost({ storeHost: undefined }).get('/nix-cache-info')).status).toBe(200);
  });

  it('is as private as the cache', async () => {
    const access = { tokens: new Tokens([]), isPrivate: true };
    expect((await setUpHost({ access }).get('/health')).status).toBe(401);
  });
});

import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import type { HttpRequest } from '../../src/http/http-fetch.ts';
import { type Exchange, followRedirects } from '../../src/http/redirects.ts';

const CREDENTIALS = { authorization: 'Bearer x', cookie: 'a=b', 'proxy-authorization': 'Basic x' };

/** The exchanges of one request that is sent from `from` to `to`, where redirects to plain http are allowed. */
async function exchangesOf(
  from: string,
  to: string,
  more: Pick<HttpRequest, 'authorizationFor'> = {},
): Promise<readonly Exchange[]> {
  const exchanges: Exchange[] = [];
  const headers = { ...CREDENTIALS, accept: 'text/plain' };
  const request = { ...more, url: new URL(from), headers, allowPlainRedirects: true };
  await followRedirects(request, async (each) => {
    exchanges.push(each);
    const answer = exchanges.length === 1 ? { status: 302, headers: { location: to } } : { status: 200, headers: {} };
    return { ...answer, url: each.url, asked: each.asked, body: Readable.from([]) };
  });
  return exchanges;
}

it.each([
  ['https://a.example/x', 'http://a.example/x', 'the same host without TLS'],
  ['https://a.example:8443/x', 'http://a.example:8443/x', 'the same host and port without TLS'],
  ['http://a.example/x', 'https://a.example/x', 'the same host with TLS'],
  ['https://a.example/x', 'https://a.example:8443/x', 'another port'],
  ['https://a.example/x', 'https://b.a.example/x', 'a host below'],
])('a redirect from %s to %s, %s, leaves credentials behind and keeps the rest', async (from, to) => {
  const [first, second, ...more] = await exchangesOf(from, to);
  expect(more).toEqual([]);
  expect(first?.headers).toMatchObject(CREDENTIALS);
  expect(second?.url.href).toBe(to);
  expect(second?.headers).toMatchObject({ accept: 'text/plain' });
  for (const name of Object.keys(CREDENTIALS)) expect(second?.headers).not.toHaveProperty(name);
});

it('a redirect within an origin takes them along', async () => {
  const [, second] = await exchangesOf('https://a.example/x', 'https://a.example:443/y');
  expect(second?.headers).toMatchObject(CREDENTIALS);
});

it.each([
  ['https://a.example/x', 'https://b.example/x', 'Basic b.example'],
  ['http://a.example/x', 'http://b.example/x', 'Basic b.example'],
  ['https://a.example/x', 'http://127.0.0.1/x', 'Basic 127.0.0.1'],
  ['https://a.example/x', 'https://me:p%40@b.example/x', 'Basic bWU6cEA='],
  ['https://a.example/x', 'https://me:%zz@b.example/x', 'Basic b.example'],
  ['https://a.example/x', 'http://me:p@b.example/x', undefined],
  ['https://a.example/x', 'http://b.example/x', undefined],
  ['https://a.example/x', 'http://a.example/x', undefined],
])('a redirect from %s to %s takes the login for there, unless that is exposed: %s', async (from, to, expected) => {
  const [first, second] = await exchangesOf(from, to, { authorizationFor: ({ hostname }) => `Basic ${hostname}` });
  expect(first?.headers).toMatchObject(CREDENTIALS);
  expect(second?.headers['authorization']).toBe(expected);
  expect(second?.headers).not.toHaveProperty('cookie');
});

it.each(['http', 'https'])('a redirect from %s to a file is refused, and told as what it is', async (scheme) => {
  const refused = exchangesOf(`${scheme}://a.example/x`, 'file:///etc/passwd');
  await expect(refused).rejects.toThrow(`redirects from ${scheme} to file:///etc/passwd`);
});

import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { HttpFetch } from '../../src/http/http-fetch.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { WebFetch } from '../../src/http/web-fetch.ts';
import { endless, serve, text, unusedUrl } from './far-side.ts';

const secrets = { authorization: 'Bearer secret', cookie: 'a=b', accept: 'text/plain' };

function openClient(): HttpFetch {
  const client = new HttpClient();
  onTestFinished(() => client.destroy());
  return client;
}

describe.each([
  ['undici', openClient],
  ['fetch', () => new WebFetch()],
])('over %s', (_, open) => {
  describe('redirects', () => {
    it('take credentials along within an origin and nowhere else', async () => {
      const far = await serve((_, response) => response.end('far'));
      const near = await serve((request, response) => {
        const location = request.url === '/one' ? '/two' : far.url;
        response.writeHead(307, { location }).end();
      });
      const { body, url } = await open().request({ url: `${near.url}/one`, headers: secrets });
      expect(await text(body)).toBe('far');
      expect(url.origin).toBe(far.url);
      expect(near.seen.map(({ headers }) => headers.authorization)).toEqual(['Bearer secret', 'Bearer secret']);
      expect(far.seen[0]?.headers).toMatchObject({ accept: 'text/plain' });
      expect(far.seen[0]?.headers).not.toHaveProperty('authorization');
      expect(far.seen[0]?.headers).not.toHaveProperty('cookie');
    });

    it('do not give credentials back to the first origin after a detour', async () => {
      const near = await serve((request, response) => {
        if (request.url === '/one') response.writeHead(302, { location: far.url }).end();
        else response.end('back');
      });
      const far = await serve((_, response) => response.writeHead(302, { location: `${near.url}/two` }).end());
      await text((await open().request({ url: `${near.url}/one`, headers: secrets })).body);
      expect(near.seen[1]?.headers.authorization).toBeUndefined();
    });

    it('end after five', async () => {
      const server = await serve((_, response) => response.writeHead(302, { location: '/again' }).end());
      await expect(open().request({ url: server.url })).rejects.toMatchObject({
        code: 'ERR_NETWORK',
        message: /5 redirects/,
      });
      expect(server.seen).toHaveLength(6);
    });

    it('are handed back when not wanted, and always after anything but GET and HEAD', async () => {
      const server = await serve((_, response) => response.writeHead(307, { location: '/x' }).end());
      const client = open();
      expect((await client.request({ url: server.url, maxRedirects: 0 })).status).toBe(307);
      expect((await client.request({ method: 'PUT', url: server.url, body: Buffer.from('x') })).status).toBe(307);
      expect(server.seen).toHaveLength(2);
    });
  });

  describe('a request', () => {
    it('says who we are', async () => {
      const server = await serve((_, response) => response.end());
      await text((await open().request({ url: server.url })).body);
      expect(server.seen[0]?.headers['user-agent']).toMatch(/^nixcache\/\d+\.\d+\.\d+/);
    });

    it('fails when no answer comes in time', async () => {
      const server = await serve(() => {});
      await expect(open().request({ url: server.url, timeoutMs: 50 })).rejects.toMatchObject({
        code: 'ERR_NETWORK',
        retryable: true,
        message: /no answer within/,
      });
    });

    it('fails when the body stalls, however long it may take as a whole', async () => {
      const server = await serve((_, response) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('begun');
      });
      const { body } = await open().request({ url: server.url, timeoutMs: 10_000, stallTimeoutMs: 100 });
      await expect(text(body)).rejects.toMatchObject({
        code: 'ERR_NETWORK',
        retryable: true,
        message: /stopped sending/,
      });
    });

    it('breaks with our error when the connection is cut in the body', async () => {
      const server = await serve((_, response) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('begun', () => response.destroy());
      });
      const { body } = await open().request({ url: server.url });
      await expect(text(body)).rejects.toMatchObject({ code: 'ERR_NETWORK', retryable: true });
    });

    it('destroys the stream it sends when the answer comes early', async () => {
      const server = await serve((_, response) => response.writeHead(413).end('too large'));
      const body = Readable.from(endless());
      const answer = await open().request({ method: 'PUT', url: server.url, body });
      expect(answer.status).toBe(413);
      await text(answer.body).catch(() => {});
      await expect.poll(() => body.destroyed).toBe(true);
    });

    it('destroys the stream it was to send when it is never sent', async () => {
      const body = Readable.from(endless());
      const signal = AbortSignal.abort(new Error('enough'));
      await expect(open().request({ method: 'PUT', url: await unusedUrl(), body, signal })).rejects.toThrow('enough');
      expect(body.destroyed).toBe(true);
      const refused = Readable.from(endless());
      await expect(open().request({ method: 'PUT', url: await unusedUrl(), body: refused })).rejects.toThrow('refused');
      expect(refused.destroyed).toBe(true);
    });

    it('stops with the reason of the signal: before, during and after the headers', async () => {
      const reason = new Error('enough');
      const silent = await serve(() => {});
      const slow = await serve((_, response) => {
        response.writeHead(200, { 'content-length': 100 });
        response.write('begun');
      });
      const client = open();
      await expect(client.request({ url: slow.url, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const during = new AbortController();
      const waiting = client.request({ url: silent.url, signal: during.signal });
      setTimeout(() => during.abort(reason), 10);
      await expect(waiting).rejects.toBe(reason);
      const after = new AbortController();
      const { body } = await client.request({ url: slow.url, signal: after.signal });
      setTimeout(() => after.abort(reason), 10);
      await expect(text(body)).rejects.toBe(reason);
    });
  });
});

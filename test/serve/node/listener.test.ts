import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import type { App } from '../../../src/serve/app.ts';
import { listenerOf, toRequest } from '../../../src/serve/node/listener.ts';
import { Watch } from '../../../src/serve/node/watch.ts';

const path = (url: string): string => new URL(toRequest({ url, rawHeaders: [] }).url).pathname;

it('a request has the method, the path and the headers of the wire, and says of a repeated one what came first', () => {
  const rawHeaders = ['Range', 'bytes=0-1', 'X-Twice', 'first', 'x-twice', 'second'];
  const { method, url, headers } = toRequest({ method: 'HEAD', url: '/nar/x.nar?y=1', rawHeaders });
  expect([method, new URL(url).pathname]).toEqual(['HEAD', '/nar/x.nar']);
  expect([headers.get('range'), headers.get('x-twice')]).toEqual(['bytes=0-1', 'first']);
});

it.each(['/nar/../nix-cache-info', '/nar/%2e%2e/nix-cache-info', '/./nix-cache-info', '//nix-cache-info'])(
  '%s names nothing, rather than what a URL would make of it',
  (url) => {
    expect(path(url)).not.toBe('/nix-cache-info');
  },
);

it.each(['CONNECT', 'TRACE', 'TRACK'])('%s, which no web request may have, becomes a method of no route', (method) => {
  expect(toRequest({ method, url: '/health', rawHeaders: [] }).method).toBe('UNKNOWN');
});

it('a client that leaves ends what is done for it', () => {
  const leaving = new AbortController();
  const { signal } = toRequest({ url: '/health', rawHeaders: [] }, leaving.signal);
  leaving.abort();
  expect(signal.aborted).toBe(true);
});

it('the body of an answer that comes after its client has left is closed', async () => {
  const answer = Promise.withResolvers<Response>();
  const closed = Promise.withResolvers<void>();
  const app = { narInfos: { answer: () => undefined }, fetch: () => answer.promise } as unknown as App;
  const request = new IncomingMessage(new Socket());
  Object.assign(request, { method: 'GET', url: '/nar/x.nar' });
  const response = new ServerResponse(request);
  listenerOf(app, new Watch())(request, response);
  response.destroy();
  answer.resolve(new Response(new ReadableStream({ cancel: () => closed.resolve() })));
  await closed.promise;
});

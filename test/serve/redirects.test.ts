/** NARs that clients fetch from where they lie. */
import { expect, it } from 'vitest';
import type { Entry } from '../../src/cache-index/entry.ts';
import { noise } from '../support/bytes.ts';
import { baseName, bodyOf, headerOf, newKey, setUpApp } from './set-up.ts';

const STORAGE = 'https://storage.example/blob?sig=s';

function setUp(options: Parameters<typeof setUpApp>[0], locate: (entry: Entry) => Promise<URL | undefined>) {
  const made = setUpApp({ redirect: true, ...options });
  const located: string[] = [];
  Object.assign(made.reader, {
    locateNar: (entry: Entry) => {
      located.push(entry.narInfo.path);
      return locate(entry);
    },
  });
  const { narInfo } = made.reader.add({ baseName: baseName(1), nar: noise(200_000, 1) });
  return { ...made, located, path: `/${narInfo.url}` };
}

it('are where a GET is sent to, whole or for a range; a HEAD is answered here', async () => {
  const { ask, path, located, reader, app } = setUp({}, async () => new URL(STORAGE));
  for (const headers of [{}, { Range: 'bytes=0-9' }]) {
    const reply = await ask(path, headers);
    expect([reply.status, headerOf(reply, 'location'), headerOf(reply, 'cache-control')]).toEqual([
      307,
      STORAGE,
      'no-store',
    ]);
  }
  const head = await ask(path, { method: 'HEAD' });
  expect([head.status, headerOf(head, 'content-length')]).toEqual([200, '200000']);
  expect([located.length, reader.opened.length, app.counters.narHits]).toEqual([2, 0, 3]);
});

it.each([
  ['nobody knows where they lie', async () => undefined],
  ['that cannot be told', async () => Promise.reject(new Error('registry on fire'))],
])('are given from here where %s', async (_, locate) => {
  const { ask, path, events } = setUp({}, locate);
  const reply = await ask(path);
  expect([reply.status, (await bodyOf(reply.body)).length, events]).toEqual([200, 200_000, []]);
});

it('are given from here unless it is wanted, and not told of when nobody trusted signed them', async () => {
  const here = setUp({ redirect: false }, async () => new URL(STORAGE));
  expect((await here.ask(here.path)).status).toBe(200);
  const refused = setUp({ trustedPublicKeys: [newKey('other-1').publicKey] }, async () => new URL(STORAGE));
  expect((await refused.ask(refused.path)).status).toBe(404);
  expect([here.located, refused.located]).toEqual([[], []]);
});

/** `.ls` of paths that only upstreams have. */
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { parsePublicKey } from '../../src/nix/signature.ts';
import type { ServeOptions } from '../../src/serve/serve-options.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { narOf } from '../support/nar.ts';
import { baseName, hashPart, headerOf, newKey, setUpApp } from './set-up.ts';

const NAR = narOf({ entries: [['made', { contents: 'of the NAR' }]] });
/** What the NAR itself says. */
const MADE =
  '{"version":1,"root":{"type":"directory","entries":{"made":{"type":"regular","size":10,"narOffset":232}}}}';
const PATH = `/${hashPart(1)}.ls`;
const KEY = newKey('far-1');

/** An upstream with a path, and `listing` for it. */
async function startFar(listing: string | Buffer | undefined): Promise<FakeUpstream> {
  const far = await startFakeUpstream();
  addPath(far, { baseName: baseName(1), nar: NAR, key: KEY });
  if (listing !== undefined) far.files.set(PATH, listing);
  return far;
}

function setUp(fars: readonly FakeUpstream[], options: Partial<ServeOptions> = {}) {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const upstreams = fars.map(({ url }) => new Upstream(parseUpstream(url), { http }));
  return setUpApp({ upstreams, ...options });
}

const listingOf = (name: string): string =>
  `{"version":1,"root":{"type":"directory","entries":{"${name}":{"type":"regular","size":3,"narOffset":400}}}}`;

it('is passed on, written anew, with a tag and for HEAD', async () => {
  const far = await startFar(
    ` {"root":{"entries":{"a":{"size":3,"narOffset":400,"type":"regular","x":"<script>"}},"type":"directory"},"version":1}`,
  );
  const { ask } = setUp([far]);
  const reply = await ask(PATH);
  expect([reply.status, String(reply.body)]).toEqual([200, listingOf('a')]);
  expect(headerOf(reply, 'content-type')).toBe('application/json');
  const etag = headerOf(reply, 'etag') ?? '';
  expect(etag).toMatch(/^"/);
  expect((await ask(PATH, { 'If-None-Match': etag })).status).toBe(304);
  const head = await ask(PATH, { method: 'HEAD' });
  expect([head.status, headerOf(head, 'content-length')]).toEqual([200, String(listingOf('a').length)]);
  expect(String(head.body)).toBe('');
});

it('is read as it was encoded', async () => {
  const far = await startFar(gzipSync(listingOf('a')));
  far.headers.set(PATH, { 'content-encoding': 'gzip' });
  expect(String((await setUp([far]).ask(PATH)).body)).toBe(listingOf('a'));
});

it('comes from the upstream whose narinfo is given, and from no other', async () => {
  const [first, second] = [await startFar(undefined), await startFar(listingOf('wrong'))];
  const { ask } = setUp([first, second], { headStartMs: 10_000 });
  expect(String((await ask(PATH)).body)).toBe(MADE);
  first.files.set(PATH, listingOf('right'));
  expect(String((await ask(PATH)).body)).toBe(listingOf('right'));
});

it('is not given of a path that no upstream has, or no trusted key signed', async () => {
  const far = await startFar(listingOf('a'));
  const untrusting = { trustedPublicKeys: [parsePublicKey(newKey('other-1').publicKey.text)] };
  expect((await setUp([far], untrusting).ask(PATH)).status).toBe(404);
  const trusting = { trustedPublicKeys: [parsePublicKey(KEY.publicKey.text)] };
  expect((await setUp([far], trusting).ask(PATH)).status).toBe(200);
  far.files.delete(`/${hashPart(1)}.narinfo`);
  expect((await setUp([far]).ask(PATH)).status).toBe(404);
});

it("of the cache's own path is the cache's own", async () => {
  const far = await startFar(listingOf('theirs'));
  const { ask, reader } = setUp([far]);
  reader.add({ baseName: baseName(1), nar: NAR, listing: listingOf('ours') });
  expect(String((await ask(PATH)).body)).toBe(listingOf('ours'));
  expect(far.requests).toEqual([]);
});

it.each([
  ['no JSON', '<html>'],
  ['another version', '{"version":2,"root":{"type":"directory","entries":{}}}'],
  ['names that lead elsewhere', listingOf('../x')],
  ['more nesting than there is room for', `{"version":1,"root":${'['.repeat(100_000)}`],
  ['a bomb', gzipSync(Buffer.alloc(100 * 1024 * 1024, ' '))],
])('is not passed on when it is %s', async (what, listing) => {
  const far = await startFar(listing);
  if (what === 'a bomb') far.headers.set(PATH, { 'content-encoding': 'gzip' });
  const { ask, events } = setUp([far]);
  expect(String((await ask(PATH)).body)).toBe(MADE);
  expect(events).toMatchObject([{ type: 'answer-failed', path: PATH }]);
});

it.each(['theirs', 'ours'])('is made of the NAR where none was published (%s)', async (whose) => {
  const far = await startFar(undefined);
  const { ask, reader } = setUp(whose === 'ours' ? [] : [far]);
  if (whose === 'ours') reader.add({ baseName: baseName(1), nar: NAR, compression: 'zstd' });
  const reply = await ask(PATH);
  expect([reply.status, String(reply.body)]).toEqual([200, MADE]);
  expect(headerOf(reply, 'content-type')).toBe('application/json');
});

it('is a miss where the NAR is damaged', async () => {
  const { ask, reader, events } = setUp([]);
  reader.add({ baseName: baseName(1), nar: Buffer.from(NAR).fill(1, 240, 248) });
  expect((await ask(PATH)).status).toBe(404);
  expect(events).toMatchObject([{ type: 'answer-failed' }]);
});

import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { hashFromBytes, hashToBase32, hashToHex } from '../../src/nix/hash.ts';
import { parsePublicKey } from '../../src/nix/signature.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, bodyOf, hashPart, headerOf, newKey, setUpApp } from './set-up.ts';

import { infoOf, KEY, LARGE, NAR, ONCE_OPEN, open, setUp } from './upstream-set-up.ts';

describe('narinfos of upstreams', () => {
  it('are asked for when the cache has none, and kept', async () => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: baseName(1), nar: NAR, key: KEY });
    const { ask, app } = setUp([far]);
    for (let i = 0; i < 3; i++) expect(infoOf(await ask(`/${hashPart(1)}.narinfo`))).toEqual(info);
    expect(far.requests).toEqual([`GET /${hashPart(1)}.narinfo`]);
    expect(app.counters).toMatchObject({ narInfoHits: 0, narInfoUpstreamHits: 3, narInfoMisses: 0 });
  });

  it('are not asked for what the cache has', async () => {
    const far = await startFakeUpstream();
    const { ask, reader } = setUp([far]);
    reader.add({ baseName: baseName(1), nar: NAR });
    expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(200);
    expect(far.requests).toEqual([]);
  });

  it('are written anew, not echoed', async () => {
    const far = await startFakeUpstream();
    const { narHash } = addPath(far, { baseName: baseName(1), nar: NAR });
    const path = `/${hashPart(1)}.narinfo`;
    const text = String(far.files.get(path));
    const hex = `sha256:${hashToHex(narHash)}`;
    far.files.set(path, `X-Evil: <script>\n${text.replace(/NarHash: .*/, `NarHash: ${hex}`)}`);
    expect(String((await setUp([far]).ask(path)).body)).toBe(text);
  });

  it('are asked for once by many at once', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR });
    far.faults.delayMs = 50;
    const { ask } = setUp([far]);
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(`/${hashPart(1)}.narinfo`)));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(far.requests).toHaveLength(1);
  });

  it('that are absent everywhere are remembered as absent', async () => {
    const fars = [await startFakeUpstream(), await startFakeUpstream()];
    const { ask } = setUp(fars);
    for (let i = 0; i < 3; i++) expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(404);
    expect(fars.map(({ requests }) => requests.length)).toEqual([1, 1]);
  });

  it('come from the first upstream that has them, and from a later one when an earlier is slow', async () => {
    const [slow, quick] = [await startFakeUpstream(), await startFakeUpstream()];
    addPath(slow, { baseName: baseName(1), nar: NAR, key: newKey('slow-1') });
    addPath(quick, { baseName: baseName(1), nar: NAR, key: newKey('quick-1') });
    const path = `/${hashPart(1)}.narinfo`;
    expect(String((await setUp([slow, quick]).ask(path)).body)).toContain('Sig: slow-1:');
    slow.faults.hang = true;
    expect(String((await setUp([slow, quick], { headStartMs: 1 }).ask(path)).body)).toContain('Sig: quick-1:');
  });

  it.each([
    ['is down', (far: FakeUpstream) => far.close()],
    ['answers 500', (far: FakeUpstream) => Object.assign(far.faults, { status: 500 })],
    ['answers 401', (far: FakeUpstream) => Object.assign(far.faults, { status: 401 })],
    ['never answers', (far: FakeUpstream) => Object.assign(far.faults, { hang: true })],
    ['answers garbage', (far: FakeUpstream) => far.files.set(`/${hashPart(1)}.narinfo`, '<html>\n')],
  ])('of an upstream that %s are misses, and are not remembered as absent', async (_what, breakIt) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR });
    await breakIt(far);
    const { ask, events } = setUp([far], far.faults.hang === true ? { narInfoTimeoutMs: 50 } : {});
    const reply = await ask(`/${hashPart(1)}.narinfo`);
    expect([reply.status, headerOf(reply, 'cache-control')]).toEqual([404, 'no-store']);
    expect(events.map(({ type }) => type)).toEqual(['upstream-failed']);
    if (far.faults.status === undefined) return;
    delete far.faults.status;
    // It is looked at in the background first.
    await expect.poll(async () => (await ask(`/${hashPart(1)}.narinfo`)).status).toBe(200);
  });

  it('of an upstream that keeps failing cost nothing', async () => {
    const far = await startFakeUpstream();
    far.faults.status = 500;
    const { ask, events } = setUp([far], {}, ONCE_OPEN);
    await Promise.all(Array.from({ length: 20 }, (_, seed) => ask(`/${hashPart(seed)}.narinfo`)));
    [far.requests.length, events.length] = [0, 0];
    await Promise.all(Array.from({ length: 200 }, (_, seed) => ask(`/${hashPart(seed)}.narinfo`)));
    expect([far.requests, events]).toEqual([[], []]);
    const status = JSON.parse(String((await ask('/_status')).body));
    expect(status.upstreams).toMatchObject([
      { url: far.url, state: expect.stringMatching(/open/), lastError: expect.stringContaining('500') },
    ]);
  });

  it('are refused without a trusted signature', async () => {
    const [evil, good] = [await startFakeUpstream(), await startFakeUpstream()];
    addPath(evil, { baseName: baseName(1), nar: NAR, key: newKey('far-1') });
    addPath(good, { baseName: baseName(1), nar: NAR, key: KEY });
    const trustedPublicKeys = [parsePublicKey(KEY.publicKey.text)];
    expect((await setUp([evil], { trustedPublicKeys }).ask(`/${hashPart(1)}.narinfo`)).status).toBe(404);
    expect((await setUp([evil, good], { trustedPublicKeys }).ask(`/${hashPart(1)}.narinfo`)).status).toBe(200);
  });

  it('may have their NAR elsewhere, which no client can name by itself', async () => {
    const [far, elsewhere] = [await startFakeUpstream(), await startFakeUpstream()];
    const url = `${elsewhere.url}/some.nar`;
    addPath(far, { baseName: baseName(1), nar: NAR, url });
    elsewhere.files.set('/some.nar', NAR);
    const { ask } = setUp([far]);
    const info = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    expect((await bodyOf((await ask(`/${info.url}`)).body)).equals(NAR)).toBe(true);
    // Also of a server that has not announced it: a client remembers for weeks what another one, or this before a restart, did.
    expect((await bodyOf((await setUp([far]).ask(`/${info.url}`)).body)).equals(NAR)).toBe(true);
    elsewhere.requests.length = 0;
    const other = Buffer.from(`${elsewhere.url}/other.nar`).toString('base64url');
    // What its narinfo says of where it is counts, and not the URL that was asked for.
    const reply = await setUp([far]).ask(`/${info.url.replace(/[^/]+$/, other)}`);
    expect((await bodyOf(reply.body)).equals(NAR)).toBe(true);
    expect(elsewhere.requests).toEqual(['GET /some.nar']);
  });
});

describe('one upstream in passing trouble', () => {
  it('that fails six narinfos at once has them all a moment later', async () => {
    const far = await startFakeUpstream();
    for (let seed = 0; seed < 6; seed++) addPath(far, { baseName: baseName(seed), nar: NAR });
    Object.assign(far.faults, { status: 503, timesEach: 2 });
    const { ask, events } = setUp([far]);
    const replies = await Promise.all(Array.from({ length: 6 }, (_, seed) => ask(`/${hashPart(seed)}.narinfo`)));
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
    expect(far.requests).toHaveLength(18);
    expect(events).toEqual([]);
  });

  it('that answers garbage for some paths has the others', async () => {
    const far = await startFakeUpstream();
    const { ask, events } = setUp([far]);
    for (let seed = 0; seed < 6; seed++) {
      addPath(far, { baseName: baseName(seed), nar: NAR });
      if (seed < 5) far.files.set(`/${hashPart(seed)}.narinfo`, '<html>\n');
      expect((await ask(`/${hashPart(seed)}.narinfo`)).status).toBe(seed < 5 ? 404 : 200);
    }
    expect(events.map(({ type }) => type)).toEqual(Array.from({ length: 5 }, () => 'upstream-failed'));
  });
});

it("what an upstream answers to nobody's understanding is asked for again, then left alone for a moment", async () => {
  const far = await startFakeUpstream();
  // What is remembered is dated by this clock.
  const now = vi.spyOn(performance, 'now').mockReturnValue(1000);
  onTestFinished(() => now.mockRestore());
  addPath(far, { baseName: baseName(1), nar: NAR });
  const { ask } = setUp([far], { negativeTtlMs: 60_000 });
  far.faults.garbled = 3;
  expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(200);
  addPath(far, { baseName: baseName(2), nar: NAR });
  far.faults.garbled = 5;
  expect((await ask(`/${hashPart(2)}.narinfo`)).status).toBe(404);
  const requests = far.requests.length;
  now.mockReturnValue(10_000);
  expect((await ask(`/${hashPart(2)}.narinfo`)).status).toBe(404);
  expect(far.requests).toHaveLength(requests);
  now.mockReturnValue(11_002);
  await expect.poll(async () => (await ask(`/${hashPart(2)}.narinfo`)).status).toBe(200);
});

describe('NARs of upstreams', () => {
  it.each([
    [undefined, false],
    ['nar/some-name.nar', false],
    ['deep/er/name.nar?hash=x', false],
    [undefined, true],
    ['nar/some-name.nar', true],
  ])('named %s are found again, also by another process (terse narinfo: %s)', async (url, terse) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR, terse, ...(url === undefined ? {} : { url }) });
    const first = setUp([far]);
    const info = infoOf(await first.ask(`/${hashPart(1)}.narinfo`));
    expect(info.url).toMatch(
      url === undefined ? /^nar\/[0-9a-z]{52}\.nar$/ : /^nar\/u\/[0-9a-f]{12}\/[0-9a-z-]+\/[\w-]+$/,
    );
    for (const { ask } of [first, setUp([await startFakeUpstream(), far])]) {
      const reply = await ask(`/${info.url}`);
      expect(reply.status).toBe(200);
      expect(headerOf(reply, 'content-length')).toBe(String(NAR.length));
      expect((await bodyOf(reply.body)).equals(NAR)).toBe(true);
      const part = await ask(`/${info.url}`, { Range: 'bytes=1000-1999' });
      expect(part.status).toBe(206);
      expect((await bodyOf(part.body)).equals(NAR.subarray(1000, 2000))).toBe(true);
      expect(headerOf(await ask(`/${info.url}`, { method: 'HEAD' }), 'content-length')).toBe(String(NAR.length));
    }
  });

  it('need no request for a HEAD when their narinfo said how long they are', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR });
    const { ask } = setUp([far]);
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    await ask(`/${url}`, { method: 'HEAD' });
    expect(far.requests).toHaveLength(1);
  });

  it('that are not compressed are as long as their NAR, whatever else a cache does not say', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR, terse: true });
    Object.assign(far.faults, { noHead: true, noLength: true });
    const { ask } = setUp([far]);
    const reply = await ask(`/${infoOf(await ask(`/${hashPart(1)}.narinfo`)).url}`);
    expect(headerOf(reply, 'content-length')).toBe(String(NAR.length));
    expect((await bodyOf(reply.body)).equals(NAR)).toBe(true);
  });

  it('are resumed where they broke off', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: NAR });
    const { ask } = setUp([far]);
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    Object.assign(far.faults, { breakOffAfter: 100_000, breakOffs: 2, etag: '"same"' });
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(NAR)).toBe(true);
    expect(far.requests.slice(1)).toEqual([
      `GET /${url}`,
      expect.stringMatching(/^GET .* bytes=[0-9]+-$/),
      expect.stringMatching(/^GET .* bytes=[0-9]+-$/),
    ]);
    Object.assign(far.faults, { breakOffAfter: 50_000, breakOffs: 1 });
    const part = await ask(`/${url}`, { Range: 'bytes=10-200009' });
    expect((await bodyOf(part.body)).equals(NAR.subarray(10, 200_010))).toBe(true);
  });

  it('are not put together from two versions', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar: LARGE, terse: true });
    const { ask } = setUp([far]);
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    Object.assign(far.faults, { breakOffAfter: 100_000, breakOffs: 2, etag: '"one"' });
    far.faults.onRequest = (request) => {
      if (request.includes(' bytes=')) far.faults.etag = '"two"';
    };
    await expect(bodyOf((await ask(`/${url}`)).body)).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
  });

  it.each([
    ['small', NAR],
    ['large', LARGE],
  ])('that stay broken are no answers: %s', async (size, nar) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar });
    const { ask } = setUp([far]);
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    far.faults.breakOffAfter = 0;
    const reply = await ask(`/${url}`);
    expect(reply.status).toBe(size === 'small' ? 404 : 200);
    if (size === 'large') await expect(bodyOf(reply.body)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
  });

  it.each([
    ['longer', NAR.length + 1],
    ['shorter', NAR.length - 1],
  ])('that are %s than announced are refused before anything is sent', async (_what, size) => {
    const far = await startFakeUpstream();
    const info = addPath(far, { baseName: baseName(1), nar: NAR });
    const { ask, events } = setUp([far]);
    await ask(`/${hashPart(1)}.narinfo`);
    far.files.set(`/${info.url}`, noise(size, 7));
    expect((await ask(`/${info.url}`)).status).toBe(404);
    expect(events).toEqual([
      expect.objectContaining({ type: 'answer-failed', error: expect.stringContaining('as announced') }),
    ]);
  });

  it('that are gone are misses', async () => {
    const far = await startFakeUpstream();
    const { ask } = setUp([far]);
    expect((await ask(`/nar/${hashToBase32Of(1)}.nar`)).status).toBe(404);
    const rest = `${hashToBase32Of(1)}-1000-none/${Buffer.from('nar/gone.nar').toString('base64url')}`;
    expect((await ask(`/nar/u/${open(far.url).id}/${rest}`)).status).toBe(404);
    expect((await ask(`/nar/u/${'0'.repeat(12)}/${rest}`)).status).toBe(404);
  });

  it.each(['../secret', 'http://127.0.0.1:1/x', '/secret', '..%2fsecret'])(
    'cannot be used to reach outside the upstream: %s',
    async (url) => {
      const far = await startFakeUpstream();
      far.files.set('/secret', 'secret');
      const upstream = open(`${far.url}/sub`);
      const { ask } = setUpApp({ upstreams: [upstream] });
      const rest = `${hashToBase32Of(1)}-6-none/${Buffer.from(url).toString('base64url')}`;
      expect((await ask(`/nar/u/${upstream.id}/${rest}`)).status).toBe(404);
      expect(far.requests).toEqual([]);
    },
  );
});

it('a refresh forgets what upstreams had and had not', async () => {
  const far = await startFakeUpstream();
  addPath(far, { baseName: baseName(1), nar: NAR });
  const { ask } = setUp([far]);
  const old = infoOf(await ask(`/${hashPart(1)}.narinfo`));
  expect((await ask(`/${hashPart(2)}.narinfo`)).status).toBe(404);
  addPath(far, { baseName: baseName(1), nar: NAR, url: 'nar/again.nar' });
  addPath(far, { baseName: baseName(2), nar: NAR });
  expect(infoOf(await ask(`/${hashPart(1)}.narinfo`))).toEqual(old);
  await ask('/_refresh', { method: 'POST' });
  expect(infoOf(await ask(`/${hashPart(1)}.narinfo`)).url).not.toBe(old.url);
  expect((await ask(`/${hashPart(2)}.narinfo`)).status).toBe(200);
});

it('no password of an upstream is told to anyone', async () => {
  const far = await startFakeUpstream();
  far.faults.status = 500;
  const { ask, events } = setUpApp({ upstreams: [open(far.url.replace('//', '//me:secret@'))] });
  const replies = [
    await ask(`/${hashPart(1)}.narinfo`),
    await ask('/_status'),
    await ask(`/nar/${hashToBase32Of(1)}.nar`),
  ];
  expect(far.authorizations[0]).toMatch(/^Basic /);
  const credentials = Buffer.from('me:secret').toString('base64');
  const said = JSON.stringify([events, replies.map(({ headers, body }) => [[...headers], String(body)])]);
  expect(said).not.toContain('secret');
  expect(said).not.toContain(credentials);
});

const hashToBase32Of = (seed: number): string => hashToBase32(hashFromBytes(noise(32, seed)));

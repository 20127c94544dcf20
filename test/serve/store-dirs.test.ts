import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { parseAnyNarInfo } from '../../src/serve/any-nar-info.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, bodyOf, hashPart, setUpApp } from './set-up.ts';

const NAR = noise(1000, 1);

/** A cache for `storeDir` with the path of `seed`; without `says`, its nix-cache-info does not name it. */
async function startFar(storeDir: string, seed: number, says: string | undefined = storeDir): Promise<FakeUpstream> {
  const far = await startFakeUpstream();
  far.files.set('/nix-cache-info', says === '' ? 'Priority: 40\n' : `StoreDir: ${says}\nPriority: 40\n`);
  addPath(far, { baseName: baseName(seed), nar: NAR, storeDir });
  return far;
}

function setUp(...fars: readonly FakeUpstream[]) {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const upstreams = fars.map(({ url }) => new Upstream(parseUpstream(url), { http }));
  const made = setUpApp({ upstreams });
  const text = async (url: string): Promise<string> => String(await bodyOf((await made.ask(url)).body));
  const status = async () => JSON.parse(await text('/_status'));
  const narInfo = (seed: number) => made.ask(`/${hashPart(seed)}.narinfo`);
  return { ...made, text, status, narInfo };
}

describe('a cache that has no path yet', () => {
  it("is for its upstream's store", async () => {
    const { ask, text, narInfo, events, status } = setUp(await startFar('/my/store', 1));
    expect(await text('/nix-cache-info')).toContain('StoreDir: /my/store\n');
    expect(await text(`/${hashPart(1)}.narinfo`)).toContain(`StorePath: /my/store/${baseName(1)}\n`);
    const [, url = ''] = /^URL: (.*)$/m.exec(String((await narInfo(1)).body)) ?? [];
    expect(await bodyOf((await ask(`/${url}`)).body)).toEqual(NAR);
    expect(events).toEqual([]);
    expect(await status()).toMatchObject({ storeDir: '/my/store', upstreams: [{ refused: null }] });
  });

  it('asks what the upstream is for before it says that a path is not for it', async () => {
    const { narInfo } = setUp(await startFar('/my/store', 1));
    expect((await narInfo(1)).status).toBe(200);
  });

  it('is for /nix/store where upstreams disagree, and names those of which it takes nothing', async () => {
    const [mine, usual] = [await startFar('/my/store', 1), await startFar('/nix/store', 2)];
    const { app, text, narInfo, events, status } = setUp(mine, usual);
    app.load();
    expect(await text('/nix-cache-info')).toContain('StoreDir: /nix/store\n');
    expect((await narInfo(1)).status).toBe(404);
    expect((await narInfo(2)).status).toBe(200);
    const reason = 'it is for the store /my/store, and this cache for /nix/store';
    expect(events).toEqual([{ type: 'upstream-refused', upstream: mine.url, reason }]);
    expect((await status()).upstreams).toMatchObject([{ refused: reason }, { refused: null }]);
    expect(mine.requests).toEqual(['GET /nix-cache-info']);
  });

  it('takes an upstream that says nothing for one of its own store', async () => {
    const [mine, terse] = [await startFar('/my/store', 1), await startFar('/my/store', 2, '')];
    const { text, narInfo } = setUp(mine, terse);
    expect(await text('/nix-cache-info')).toContain('StoreDir: /my/store\n');
    expect((await narInfo(2)).status).toBe(200);
  });

  it.each(['my/store', '/my/store/', '/my store', '', '/'])('never is for what is no directory: %j', async (says) => {
    const { text } = setUp(await startFar('/nix/store', 1, says));
    expect(await text('/nix-cache-info')).toContain('StoreDir: /nix/store\n');
  });

  it('does not wait for long for an upstream that says nothing at all', async () => {
    const far = await startFar('/my/store', 1);
    far.faults.hang = true;
    const { text } = setUp(far);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const asked = text('/nix-cache-info');
    await vi.advanceTimersByTimeAsync(3000);
    expect(await asked).toContain('StoreDir: /nix/store\n');
  });
});

describe('a cache with paths', () => {
  it('takes nothing from an upstream for another store, and says so once', async () => {
    const far = await startFar('/my/store', 1);
    const { app, reader, text, narInfo, events, status } = setUp(far);
    reader.add({ baseName: baseName(5), nar: NAR });
    app.load();
    await expect.poll(() => events).toHaveLength(1);
    for (let i = 0; i < 3; i++) expect((await narInfo(1)).status).toBe(404);
    expect(await text('/nix-cache-info')).toContain('StoreDir: /nix/store\n');
    expect(events).toEqual([
      { type: 'upstream-refused', upstream: far.url, reason: expect.stringContaining('/my/store, and this cache') },
    ]);
    expect((await status()).upstreams[0].refused).toContain('/my/store');
    expect(far.requests).toEqual(['GET /nix-cache-info']);
  });

  it('takes no path of another store from an upstream for its own', async () => {
    const far = await startFar('/my/store', 1, '/nix/store');
    addPath(far, { baseName: baseName(2), nar: NAR });
    const { reader, narInfo, events } = setUp(far);
    reader.add({ baseName: baseName(5), nar: NAR });
    expect([(await narInfo(1)).status, (await narInfo(2)).status]).toEqual([404, 200]);
    expect(events).toMatchObject([{ type: 'refused', reason: expect.stringContaining(`at ${far.url} it is for`) }]);
  });

  it('names an upstream that was its own before it had a path', async () => {
    const far = await startFar('/my/store', 1);
    const { app, reader, text, narInfo, events } = setUp(far);
    expect(await text('/nix-cache-info')).toContain('/my/store');
    expect((await narInfo(1)).status).toBe(200);
    reader.faults.published = { baseName: baseName(5), nar: NAR };
    await app.refresher.refresh();
    expect(await text('/nix-cache-info')).toContain('/nix/store');
    expect((await narInfo(1)).status).toBe(404);
    expect(events.map(({ type }) => type)).toContain('upstream-refused');
  });
});

it.each(['', 'StorePath: x\n', 'StorePath: ../x\n', `StorePath: /a\u0000b/${baseName(1)}\n`])(
  'a narinfo of no store is corrupt: %j',
  (text) => {
    expect(() => parseAnyNarInfo(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  },
);

it('upstreams are asked in the order of what they say of themselves, where the user says nothing', async () => {
  const fars = [await startFar('/nix/store', 1), await startFar('/nix/store', 1), await startFar('/nix/store', 1)];
  const [first, second, third] = fars;
  second?.files.set('/nix-cache-info', 'StoreDir: /nix/store\nPriority: 10\n');
  third?.files.set('/nix-cache-info', 'StoreDir: /nix/store\nPriority: 20\n');
  const { text, narInfo } = setUp(...fars);
  await text('/nix-cache-info'); // by then it is known
  expect((await narInfo(1)).status).toBe(200);
  const lookups = (far: FakeUpstream | undefined) => far?.requests.filter((each) => each.includes('.narinfo')).length;
  expect([lookups(first), lookups(second), lookups(third)]).toEqual([0, 1, 0]);
});

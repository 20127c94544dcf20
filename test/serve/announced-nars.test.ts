/** What an upstream announced and cannot give comes from another that has the same bytes. */
import { describe, expect, it } from 'vitest';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, bodyOf, hashPart } from './set-up.ts';
import { infoOf, NAR, setUp } from './upstream-set-up.ts';

describe('a NAR that its upstream announced and cannot give', () => {
  const announce = async (): Promise<readonly [FakeUpstream, FakeUpstream]> => {
    const fars = [await startFakeUpstream(), await startFakeUpstream()] as const;
    for (const far of fars) addPath(far, { baseName: baseName(1), nar: NAR });
    return fars;
  };

  it.each([
    ['404', (far: FakeUpstream, url: string) => far.files.delete(`/${url}`)],
    ['503', (far: FakeUpstream) => Object.assign(far.faults, { status: 503 })],
    ['no answer', (far: FakeUpstream) => Object.assign(far.faults, { hang: true })],
    ['no connection', (far: FakeUpstream) => far.close()],
    ['another file', (far: FakeUpstream, url: string) => far.files.set(`/${url}`, noise(5, 1))],
  ])('comes from another that has it: %s', async (_what, breakIt) => {
    const [first, second] = await announce();
    const { ask } = setUp([first, second], { narHeadStartMs: 20 });
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    await breakIt(first, url);
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(NAR)).toBe(true);
    const part = await ask(`/${url}`, { Range: 'bytes=1000-1999' });
    expect((await bodyOf(part.body)).equals(NAR.subarray(1000, 2000))).toBe(true);
    expect(second.requests.length).toBeGreaterThan(0);
  });

  it('comes from another that has it under another name', async () => {
    const [first, second] = await announce();
    const { ask } = setUp([first, second]);
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    first.files.delete(`/${url}`);
    second.files.delete(`/${url}`);
    addPath(second, { baseName: baseName(1), nar: NAR, url: 'other/name.nar' });
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(NAR)).toBe(true);
  });

  it('does not come from another whose file would be another, and is not announced again', async () => {
    const [first, second] = await announce();
    const { ask } = setUp([first, second]);
    const path = `/${hashPart(1)}.narinfo`;
    const { url } = infoOf(await ask(path));
    first.files.delete(`/${url}`);
    first.files.delete(path);
    second.files.delete(`/${url}`);
    const { narHash } = infoOf({
      status: 200,
      headers: new Headers(),
      body: Buffer.from(String(second.files.get(path))),
    });
    addPath(second, { baseName: baseName(1), nar: noise(500, 1), url: 'nar/x.nar.xz' });
    const text = String(second.files.get(path));
    second.files.set(
      path,
      text.replace('Compression: none', 'Compression: xz').replace(/NarHash: .*/, `NarHash: ${narHash}`),
    );
    expect((await ask(`/${url}`)).status).toBe(404);
    expect(infoOf(await ask(path))).toMatchObject({ compression: 'xz', narHash });
  });

  it('goes on from another where the first breaks off for good', async () => {
    const [first, second] = await announce();
    const { ask } = setUp([first, second], { narHeadStartMs: 20 });
    const { url } = infoOf(await ask(`/${hashPart(1)}.narinfo`));
    first.faults.breakOffAfter = 100_000;
    first.faults.onRequest = (request) => {
      if (request.includes(' bytes=')) void first.close();
    };
    expect((await bodyOf((await ask(`/${url}`)).body)).equals(NAR)).toBe(true);
    expect(first.requests.at(-1)).toContain(' bytes=100000-');
  });
});

it('an answer that breaks the rules of HTTP is not asked for again', async () => {
  const far = await startFakeUpstream();
  const { url } = addPath(far, { baseName: baseName(1), nar: NAR });
  const { ask } = setUp([far]);
  await ask(`/${hashPart(1)}.narinfo`);
  far.faults.raw = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 2\r\n\r\nbody';
  const before = far.requests.length;
  expect((await ask(`/${url}`)).status).toBe(404);
  expect(far.requests.slice(before).filter((request) => request.includes('/nar/'))).toEqual([`GET /${url}`]);
});

/** What was acknowledged is there after `kill -9` at any moment, while the registry is away, and on a disk that is full. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { formatNarInfo } from '../../src/nix/nar-info.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { makeTemporaryDirectory } from '../../src/temporary-directory.ts';
import { uploadOf } from '../serve/upload/set-up.ts';
import { noise } from '../support/bytes.ts';
import { nixcache, type Serving, startServe } from '../support/e2e-cli.ts';
import { RealRegistry } from '../support/real-registry.ts';

const TOKEN = '6f1ed002ab5595859014ebf0951522d9';
const headers = { authorization: `Bearer ${TOKEN}` };

/** Uploads that grow, each referring to the one before. */
const UPLOADS = Array.from({ length: 60 }, (_, i) =>
  uploadOf(i + 1, {
    text: noise(1000 + 5000 * i, i).toString('hex'),
    references: i === 0 ? [] : [uploadOf(i).path.slice('/nix/store/'.length)],
  }),
);

async function setUp(directory?: string) {
  const home = await makeTemporaryDirectory('nixcache-upload-', 'a test');
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  await writeFile(join(home, 'tokens'), TOKEN, { mode: 0o600 });
  await writeFile(join(home, 'key'), generateKey('serve-1').secret, { mode: 0o600 });
  const env = { PATH: process.env['PATH'] ?? '', HOME: home };
  const cache = `oci:${join(home, 'cache')}`;
  const files = ['--upload-token-file', join(home, 'tokens'), '--key-file', join(home, 'key')];
  const place = ['--upload-dir', directory ?? join(home, 'uploads')];
  const start = (from = cache): Promise<Serving> =>
    startServe(['--from', from, '--no-upstream', ...files, ...place], { env });
  return { home, env, cache, start };
}

const put = (url: string, path: string, body: Buffer | string) =>
  fetch(url + path, { method: 'PUT', headers, body } as RequestInit);

/** Uploads one after the other until that fails; what was acknowledged is added to `taken`. */
async function uploadAll(url: string, from: number, taken: Set<number>): Promise<void> {
  for (let i = from; i < UPLOADS.length; i++) {
    const upload = UPLOADS[i];
    if (upload === undefined) return;
    const nar = await put(url, upload.narUrl, upload.file);
    if (nar.status !== 201) return;
    const narInfo = await put(url, upload.narInfoUrl, formatNarInfo(upload.info));
    if (narInfo.status !== 201) return;
    taken.add(i);
  }
}

async function expectServed(url: string, taken: Iterable<number>): Promise<void> {
  for (const i of taken) {
    const upload = UPLOADS[i];
    if (upload === undefined) continue;
    expect((await fetch(url + upload.narInfoUrl)).status, `narinfo ${i}`).toBe(200);
    expect(Buffer.from(await (await fetch(url + upload.narUrl)).arrayBuffer()).equals(upload.file), `NAR ${i}`).toBe(
      true,
    );
  }
}

const pendingAt = async (url: string): Promise<number> =>
  ((await (await fetch(`${url}/_status`)).json()) as { uploads: { pending: number } }).uploads.pending;

describe('what was acknowledged', () => {
  it('is there after each of several kills, and in the cache in the end', async () => {
    const { cache, env, start } = await setUp();
    const taken = new Set<number>();
    for (const afterMs of [150, 400, 2600]) {
      await using server = await start();
      await expectServed(server.url, taken);
      const uploading = uploadAll(server.url, taken.size, taken).catch(() => undefined);
      await delay(afterMs);
      server.signal('SIGKILL');
      await uploading;
    }
    expect(taken.size).toBeGreaterThan(0);
    await using server = await start();
    await expectServed(server.url, taken);
    await uploadAll(server.url, taken.size, taken);
    expect(taken.size).toBe(UPLOADS.length);
    expect((await server.stop()).exitCode).toBe(0);
    await using another = await startServe(['--from', cache, '--no-upstream'], { env });
    await expectServed(another.url, taken);
    expect(await nixcache(['verify', '--contents', '--cache', cache], { env })).toMatchObject({ exitCode: 0 });
  });

  it('waits for a registry that is away, over a restart, and goes there once it is back', async () => {
    const { start, env } = await setUp();
    const registry = await RealRegistry.start();
    onTestFinished(() => registry.stop());
    const reference = `${registry.host}/uploads`;
    await registry.pause();
    const taken = new Set<number>();
    {
      await using server = await start(reference);
      await uploadAll(server.url, UPLOADS.length - 5, taken);
      server.signal('SIGKILL');
    }
    await using server = await start(reference);
    await expectServed(server.url, taken);
    await registry.resume();
    await expect.poll(() => pendingAt(server.url), { timeout: 60_000 }).toBe(0);
    await using another = await startServe(['--from', reference, '--no-upstream'], { env });
    await expectServed(another.url, taken);
  });

  it('is kept where the disk is full, and what does not fit is refused whole', async () => {
    const mount = await makeTemporaryDirectory('nixcache-full-', 'a test');
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mount]);
    onTestFinished(async () => {
      await execa('umount', [mount]);
      await rm(mount, { recursive: true, force: true });
    });
    const directory = join(mount, 'uploads');
    await mkdir(directory);
    const { start } = await setUp(directory);
    await using server = await start();
    const small = uploadOf(900);
    const large = uploadOf(901, { text: noise(5_000_000, 3).toString('latin1') });
    expect((await put(server.url, small.narUrl, small.file)).status).toBe(201);
    expect((await put(server.url, small.narInfoUrl, formatNarInfo(small.info))).status).toBe(201);
    const refused = await put(server.url, large.narUrl, large.file);
    expect([refused.status, await refused.text()]).toEqual([507, expect.stringContaining('no room')]);
    // Of unknown length: it is full in the middle of it.
    const chunks = new ReadableStream({
      start(controller) {
        controller.enqueue(large.file);
        controller.close();
      },
    });
    const init = { method: 'PUT', headers, body: chunks, duplex: 'half' } as RequestInit;
    const full = await fetch(server.url + large.narUrl, init);
    expect([full.status, await full.text()]).toEqual([507, expect.not.stringContaining(mount)]);
    expect((await fetch(server.url + small.narInfoUrl)).status).toBe(200);
    expect((await execa('find', [directory, '-path', '*incoming/*'])).stdout).toBe('');
    expect((await server.stop()).exitCode).toBe(0);
  });
});

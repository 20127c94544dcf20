/** `serve --disk-cache` in front of a registry and an upstream that go away, with real Nix as the client. */
import { lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { baseName } from '../serve/set-up.ts';
import { noise } from '../support/bytes.ts';
import { startRegistry } from '../support/e2e-caches.ts';
import { nixcache, type Serving, startFreshServe, startServe } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { addPath, startFakeUpstream } from '../support/fake-upstream.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { tempDir } from '../support/temp-dir.ts';

const [key, farKey] = [generateKey('disk-1'), generateKey('far-1')];
const keys = [key.public, farKey.public];
const packages = ['own', 'far'].map(
  (name) => `  ${name}-small = run "${name}-small" "echo ${name} > $out";
  ${name}-big = run "${name}-big" "head -c 3000000 /dev/urandom > $out; echo \${${name}-small} >> $out";
  ${name} = run "${name}" "echo \${${name}-big} > $out";`,
);

let nix: NixEnv;
let own: string;
let far: string;

beforeAll(async () => {
  nix = await createNixEnv();
  const flake = await writeFlake(join(nix.dir, 'flake'), `rec {\n${packages.join('\n')}\n}`);
  const scratch = `oci:${join(nix.dir, 'scratch')}`;
  const built = await nixcache(['publish', flake, '--to', scratch, '--no-upstream', '--json'], nix);
  const outputs = readJson(built.stdout).outputs.map((output) => output.outputs['out'] ?? '');
  own = outputs.find((path) => path.endsWith('-own')) ?? '';
  far = outputs.find((path) => path.endsWith('-far')) ?? '';
});
afterAll(() => nix.cleanup());

/** A registry with one closure, and an upstream with the other. */
async function setUp() {
  const [host, upstream, directory] = [await startRegistry(), await startFakeUpstream(), await tempDir()];
  onTestFinished(() => host.stop());
  const env = { ...nix.env, NIXCACHE_SIGNING_KEY: key.secret };
  const pushed = await nixcache(['push', own, '--to', host.cache('c'), '--no-upstream', '--quiet'], { env });
  expect(pushed).toMatchObject({ exitCode: 0 });
  const [plain, secret] = [join(directory, 'plain'), join(directory, 'secret')];
  await writeFile(secret, farKey.secret);
  await runNix(nix, 'nix', 'copy', '--to', `file://${plain}?compression=xz&secret-key=${secret}`, far);
  for (const name of await readdir(plain, { recursive: true })) {
    if ((await lstat(join(plain, name))).isFile()) upstream.files.set(`/${name}`, await readFile(join(plain, name)));
  }
  const disk = join(directory, 'disk');
  const args = [
    '--cache',
    host.cache('c'),
    '--upstream',
    upstream.url,
    '--disk-cache',
    '64M',
    '--disk-cache-dir',
    disk,
  ];
  const start = async (open: typeof startServe): Promise<Serving> => {
    const server = await open(args, { env: { ...nix.env, NIXCACHE_INDEX_DIR: join(directory, 'index') } });
    onTestFinished(() => server[Symbol.asyncDispose]());
    return server;
  };
  return { host, upstream, disk, start };
}

async function objects(disk: string): Promise<string[]> {
  const names = await readdir(join(disk, 'objects'), { recursive: true });
  return names.filter((name) => name.includes('/')).map((name) => join(disk, 'objects', name));
}

/** What of it there is on the disk, as `du` has it. */
async function diskBytes(disk: string): Promise<number> {
  let total = 0;
  for (const name of ['.', ...(await readdir(disk, { recursive: true }))]) {
    total += ((await lstat(join(disk, name)).catch(() => undefined))?.blocks ?? 0) * 512;
  }
  return total;
}

describe('a disk cache', () => {
  it('has all of a closure that was fetched once, whatever is gone since', { timeout: 120_000 }, async () => {
    const { host, upstream, disk, start } = await setUp();
    const first = await start(startFreshServe);
    const closure = await substitute(first.url, keys, [own, far]);
    expect(closure.length).toBe(6);
    expect(upstream.requests.filter((request) => request.includes('nar/')).length).toBe(3);
    await host.registry.pause();
    await upstream.close();
    expect(await substitute(first.url, keys, [own, far])).toEqual(closure);
    expect(await first.stop()).toMatchObject({ exitCode: 0 });

    const next = await start(startServe);
    expect(await (await fetch(`${next.url}/nix-cache-info`)).text()).toContain('StoreDir: /nix/store');
    expect(await substitute(next.url, keys, [own, far])).toEqual(closure);
    const status = (await (await fetch(`${next.url}/_status`)).json()) as Record<string, Record<string, number>>;
    expect(status['counters']).toMatchObject({ narDiskHits: 6, narInfoDiskHits: 3 });
    expect(status['diskCache']?.['maxBytes']).toBe(64 * 1024 * 1024);
    expect(await diskBytes(disk)).toBeLessThan(20 * 1024 * 1024);

    // Another byte in each: none of it reaches a store, and what is had again is whole.
    for (const path of await objects(disk)) {
      const bytes = await readFile(path);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      await writeFile(path, bytes);
    }
    await expect(substitute(next.url, keys, [own])).rejects.toThrow();
    await host.registry.resume();
    await vi.waitFor(async () => expect(await substitute(next.url, keys, [own])).toHaveLength(3), {
      timeout: 60_000,
      interval: 500,
    });
    await next.said('fetched anew');
  });

  it('survives a SIGKILL while it is filled, with nothing half and nothing left over', {
    timeout: 120_000,
  }, async () => {
    const { upstream, disk, start } = await setUp();
    const huge = noise(48_000_000, 'huge');
    const { url } = addPath(upstream, { baseName: baseName(9), nar: huge });
    const first = await start(startServe);
    await fetch(`${first.url}/${baseName(9).slice(0, 32)}.narinfo`);
    const reading = fetch(`${first.url}/${url}`).then((reply) => reply.arrayBuffer());
    reading.catch(() => undefined);
    await vi.waitFor(
      async () => {
        const [partial] = await readdir(join(disk, 'partial'));
        expect((await lstat(join(disk, 'partial', partial ?? ''))).size).toBeGreaterThan(2_000_000);
      },
      { timeout: 30_000, interval: 1 },
    );
    first.signal('SIGKILL');
    await first.result;
    await reading.catch(() => undefined);
    expect(await objects(disk)).toEqual([]);

    const next = await start(startServe);
    const again = Buffer.from(await (await fetch(`${next.url}/${url}`)).arrayBuffer());
    expect(again.equals(huge)).toBe(true);
    await vi.waitFor(async () => expect(await readdir(join(disk, 'partial'))).toEqual([]), { timeout: 30_000 });
    await vi.waitFor(async () => expect(await objects(disk)).toHaveLength(1), { timeout: 30_000 });
    expect(await diskBytes(disk)).toBeLessThanOrEqual(64 * 1024 * 1024);
    expect(lines((await next.stop()).stderr).filter((line) => /disk cache/.test(line))).toEqual([]);
  });

  it('fails nobody when its disk is full', { timeout: 120_000 }, async () => {
    const { upstream, disk, start } = await setUp();
    await mkdir(disk);
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=6m,mode=0700', 'tmpfs', disk]);
    onTestFinished(async () => void (await execa('umount', ['--lazy', disk])));
    const [small, large] = [noise(500_000, 'small'), noise(20_000_000, 'large')];
    const urls = [small, large].map((nar, index) => addPath(upstream, { baseName: baseName(20 + index), nar }).url);
    const server = await start(startServe);
    for (const index of [0, 1]) await fetch(`${server.url}/${baseName(20 + index).slice(0, 32)}.narinfo`);
    const read = async (url = ''): Promise<Buffer> =>
      Buffer.from(await (await fetch(`${server.url}/${url}`)).arrayBuffer());
    expect((await read(urls[0])).equals(small)).toBe(true);
    for (const bytes of await Promise.all([1, 2, 3].map(() => read(urls[1])))) expect(bytes.equals(large)).toBe(true);
    await server.said('the disk is full');
    expect((await read(urls[0])).equals(small)).toBe(true);
    expect((await objects(disk)).length).toBe(1);
  });
});

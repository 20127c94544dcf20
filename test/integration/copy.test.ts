/** Copies between real places, by the command line, read again by real Nix. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { parseBaseName } from '../../src/nix/store-path.ts';
import { LayoutStore } from '../../src/oci/layout/layout-store.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { namesIn } from '../support/cache-builder.ts';
import { type CliResult, nixcache as runCli, startNixcache, startServe } from '../support/e2e-cli.ts';
import { startHoldingProxy } from '../support/holding-proxy.ts';
import { writeLegacyCache } from '../support/legacy-cache.ts';
import { createNixClient, createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';
import { RealRegistry } from '../support/real-registry.ts';

/** A text that refers to another: two store paths, made without a build. */
const EXPRESSION = `builtins.toFile "outer" "see \${builtins.toFile "inner" "${'hello '.repeat(20_000)}"}"`;

const key = generateKey('copy-test-1');
let nix: NixEnv;
let registry: RealRegistry;
let outer: string;
let inner: string;

const run = async (command: string, ...args: string[]): Promise<string> =>
  (await execa(command, args, { env: nix.env, extendEnv: false })).stdout;
const nixcache = (...args: readonly string[]): Promise<CliResult> => runCli(args, { cwd: nix.dir, env: nix.env });
const at = (name: string): string => join(nix.dir, name);

beforeAll(async () => {
  [nix, registry] = await Promise.all([createNixEnv(), RealRegistry.start()]);
  outer = JSON.parse(await run('nix-instantiate', '--eval', '--json', '--read-write-mode', '-E', EXPRESSION));
  inner = await run('nix-store', '--query', '--references', outer);
  await writeFile(at('secret'), key.secret);
});
afterAll(() => Promise.all([nix.cleanup(), registry.stop()]));

/** Substitutes the closure out of `cache`, which only signatures by our key allow. */
async function substitute(cache: string, bin: string | undefined): Promise<void> {
  await using server = await startServe(['--from', cache, '--no-upstream'], nix);
  const client = await createNixClient({ substituters: [server.url], publicKeys: [key.public], bin });
  try {
    const options = { env: client.env, extendEnv: false };
    await execa('nix', ['copy', '--from', server.url, outer], options);
    expect(await readFile(join(client.realStoreDir, basename(outer)), 'utf8')).toBe(`see ${inner}`);
    await execa('nix-store', ['--verify', '--check-contents'], options);
  } finally {
    await client.cleanup();
  }
}

describe.each(NIX_VERSIONS)('a cache copied for $name', (version) => {
  beforeAll(() => requireNix(version));
  const name = version.name.replaceAll(/[^a-z0-9]+/gi, '-').toLowerCase();

  it('from a file cache of xz NARs into a layout, a registry and back', async () => {
    const files = `file://${at('files')}`;
    await run('nix', 'copy', '--to', `${files}?compression=xz&secret-key=${at('secret')}`, outer);
    const first = `oci:${at(`${name}-first`)}`;
    const remote = `${registry.host}/team/${name}`;
    const back = `oci:${at(`${name}-back`)}`;
    const copied = await nixcache('copy', files, first, '--trusted-public-key', key.public, '--json');
    expect(copied).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(copied.stdout)).toMatchObject({ copied: { paths: 2 }, refused: [] });
    for (const [source, destination] of [
      [first, remote],
      [remote, back],
    ] as const) {
      const { stdout, exitCode } = await nixcache('copy', source, destination, '--json');
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ copied: { paths: 2 }, segments: { whole: 1, written: 0 } });
      const again = await nixcache('copy', source, destination, '--json');
      expect(JSON.parse(again.stdout)).toMatchObject({ copied: { paths: 0 }, existed: { paths: 2 }, uploadedBytes: 0 });
    }
    for (const cache of [first, remote, back]) await substitute(cache, version.bin);
  });

  it('over HTTP, by path, from a pipe', async () => {
    const files = `file://${at('files')}`;
    await run('nix', 'copy', '--to', `${files}?compression=xz&secret-key=${at('secret')}`, outer);
    await nixcache('copy', files, `oci:${at('served')}`);
    await using server = await startServe(['--from', `oci:${at('served')}`, '--no-upstream'], nix);
    const cache = `oci:${at(`${name}-http`)}`;
    const args = ['copy', server.url, cache, '-', '--trusted-public-key', key.public, '--json'];
    const { exitCode, stdout } = await runCli(args, { cwd: nix.dir, env: nix.env, input: `${outer}\n` });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ copied: { paths: 2 } });
    await substitute(cache, version.bin);
  });
});

it('a copy that was killed goes on where it stopped', async () => {
  const source = `oci:${at('large')}`;
  const size = 2 * 1024 * 1024;
  // A segment for each, since each is pushed by itself.
  for (const name of ['large-0', 'large-1', 'large-2']) {
    await mkdir(at(name));
    await writeFile(at(`${name}/data`), randomBytes(size));
    const path = await run('nix-store', '--add', at(name));
    expect(await nixcache('push', path, '--to', source, '--no-upstream')).toMatchObject({ exitCode: 0 });
  }
  // Killed when the first segment is there and the second about to be.
  let segments = 0;
  await using proxy = await startHoldingProxy(registry.host, ({ method, url = '' }) => {
    return method === 'PUT' && url.includes('/manifests/seg-') && ++segments === 2;
  });
  await using copy = startNixcache(['copy', source, `${proxy.host}/team/killed`], nix);
  await Promise.race([proxy.held, copy.result]);
  copy.signal('SIGKILL');
  expect(await copy.result).toMatchObject({ signal: 'SIGKILL' });

  const { exitCode, stdout } = await nixcache('copy', source, `${registry.host}/team/killed`, '--json');
  expect(exitCode).toBe(0);
  const report = JSON.parse(stdout);
  expect(report).toMatchObject({ existed: { paths: 1 }, copied: { paths: 2 } });
  expect(report.uploadedBytes).toBeLessThan(3 * size);
});

it('a cache of the older layout is served, and converted by the first push', async () => {
  const repository = 'old/nix-cache';
  const cache = `${registry.host}/${repository}`;
  const http = new HttpClient();
  try {
    const store = new RemoteRepository({ host: registry.host, repository, http, scheme: 'http' });
    const paths = await Promise.all(
      [inner, outer].map(async (path) => {
        const file = join(nix.realStoreDir, basename(path));
        const { stdout } = await execa('nix-store', ['--dump', file], {
          env: nix.env,
          extendEnv: false,
          encoding: 'buffer',
        });
        const references = path === outer ? [parseBaseName(basename(inner))] : [];
        return { baseName: parseBaseName(basename(path)), nar: Buffer.from(stdout), references };
      }),
    );
    const roots = [parseBaseName(basename(outer))];
    await writeLegacyCache(store, paths, { key: parseSecretKey(key.secret), roots });
    await substitute(cache, undefined);

    const copied = await nixcache('copy', cache, `oci:${at('from-old')}`, '--json');
    expect(JSON.parse(copied.stdout)).toMatchObject({ copied: { paths: 2 } });
    await substitute(`oci:${at('from-old')}`, undefined);

    await writeFile(at('more'), 'more');
    const more = await run('nix-store', '--add', at('more'));
    const dry = await nixcache('push', more, '--to', cache, '--no-upstream', '--dry-run', '--json');
    expect(JSON.parse(dry.stdout)).toMatchObject({ push: { paths: [more] } });
    expect((await store.resolve('cache-index'))?.mediaType).toMatch(/image\.manifest/);
    const pushed = await nixcache('push', more, '--to', cache, '--no-upstream', '--key-file', at('secret'));
    expect(pushed).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('was converted') });
    expect(await namesIn(store)).toEqual(['inner', 'more', 'outer']);
    await substitute(cache, undefined);
  } finally {
    await http.destroy();
  }
});

it('what a copy cannot do is said without a trace at the destination', async () => {
  const empty = `oci:${at('never')}`;
  const absent = await nixcache('copy', `oci:${at('from-old')}`, empty, `/nix/store/${'0'.repeat(32)}-absent`);
  expect(absent).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('does not have /nix/store/0000') });
  const unlisted = await nixcache('copy', 'http://127.0.0.1:9', empty);
  expect(unlisted).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('cannot be listed') });
  const { exitCode, stdout } = await nixcache('copy', `oci:${at('from-old')}`, `oci:${at('dry')}`, '--dry-run');
  expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/would be copied +2 /)]);
  await expect(LayoutStore.open(at('dry'), { create: false }).then((store) => store.listTags())).resolves.toEqual([]);
});

/** Secrets that a user hands over in a URL: where they must not turn up afterwards. */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { layoutRoots } from '../support/e2e-caches.ts';
import { type CliResult, nixcache } from '../support/e2e-cli.ts';
import { type PublishJson, readJson } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const USER = 'merlin';
const PASSWORD = 'opensesame77';
const TOKEN = 'glpat0123456789';

/** What nixcache is given beside them. */
const GIVEN = {
  NIX_SIGNING_KEY: generateKey('given-1').secret,
  NIXCACHE_PASSWORD: 'registry-opensesame77',
  GITHUB_TOKEN: 'ghp_opensesame77',
  AWS_SECRET_ACCESS_KEY: 'wJalrXUtnFEMI7',
};
const SECRETS = [PASSWORD, TOKEN, ...Object.values(GIVEN).map((secret) => secret.replace(/^given-1:/, ''))];

const FLAKE = `{ outputs = { self }: { packages.x86_64-linux.hello = derivation {
  name = "hello"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; src = self;
}; }; }`;

/** Every file below `directory` that holds one of the secrets as it is. */
async function holders(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const held = await Promise.all(
    files.map(async (file) => {
      const bytes = await readFile(file);
      return SECRETS.some((secret) => bytes.includes(secret));
    }),
  );
  return files.filter((_, i) => held[i]);
}

describe('a flake behind a password and a token', () => {
  let nix: NixEnv;
  let url: string;
  let published: CliResult;
  const server = createServer(async (request, response) => {
    const isAsked = request.headers.authorization === `Basic ${btoa(`${USER}:${PASSWORD}`)}`;
    const isAllowed = isAsked && request.url?.includes(`token=${TOKEN}`) === true;
    response.writeHead(isAllowed ? 200 : 401, { 'content-type': 'application/gzip' });
    response.end(isAllowed ? await readFile(join(nix.dir, 'flake.tar.gz')) : '');
  });

  const cache = (): string => `oci:${join(nix.dir, 'cache')}`;
  const publishedJson = (): PublishJson => readJson(published.stdout);
  const run = (...args: string[]): Promise<CliResult> => nixcache(args, { env: { ...nix.env, ...GIVEN } });

  beforeAll(async () => {
    nix = await createNixEnv();
    await mkdir(join(nix.dir, 'flake'));
    await writeFile(join(nix.dir, 'flake/flake.nix'), FLAKE);
    await execa('tar', ['--create', '--gzip', '--file', 'flake.tar.gz', 'flake'], { cwd: nix.dir });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    url = `http://${USER}:${PASSWORD}@127.0.0.1:${port}/flake.tar.gz?token=${TOKEN}`;
    published = await run('publish', url, '--to', cache(), '--no-upstream', '--json', '--verbose');
  });
  afterAll(async () => {
    server.close();
    await nix?.cleanup();
  });

  it('is published', () => {
    expect(published.exitCode, published.stderr).toBe(0);
    expect(publishedJson().outputs.map(({ status }) => status)).toEqual(['built']);
  });

  it('is named without them in the cache, which no file of has them', async () => {
    const roots = await layoutRoots(cache());
    const { port } = server.address() as AddressInfo;
    expect(roots).toMatchObject([{ source: `http://127.0.0.1:${port}/flake.tar.gz` }]);
    expect(await holders(join(nix.dir, 'cache'))).toEqual([]);
  });

  it('leaves them in no file of the store, which everyone can read', async () => {
    expect((await readdir(nix.realStoreDir)).length).toBeGreaterThan(2);
    expect(await holders(nix.realStoreDir)).toEqual([]);
  });

  it('is built as nix build does', async () => {
    const env = { ...nix.env };
    const built = await execa('nix', ['build', '--no-link', '--json', `${url}#hello`], { env, extendEnv: false });
    const [{ outputs }] = JSON.parse(built.stdout) as [{ readonly outputs: Readonly<Record<string, string>> }];
    expect(publishedJson().outputs[0]?.outputs).toEqual(outputs);
  });

  it('is spoken of without them', async () => {
    const all = await Promise.all([
      published,
      run('discover', url, '--json', '--verbose'),
      run('discover', url.replace('flake.tar.gz', 'none.tar.gz')),
      run('discover', url.replace(TOKEN, `wrong${TOKEN}`)),
      run('discover', `${url}#hello`),
      run('list', '--cache', cache(), '--json'),
      run('list', '--cache', cache()),
    ]);
    for (const { stdout, stderr } of all) for (const secret of SECRETS) expect(stdout + stderr).not.toContain(secret);
  });
});

describe('a password in a URL', () => {
  const url = `http://${USER}:${PASSWORD}@127.0.0.1:9/x?token=${TOKEN}`;
  it.each([
    ['copy', url],
    ['copy', url, 'oci:/nowhere/a'],
    ['copy', 'oci:/nowhere/a', url],
    ['serve', url],
    ['serve', '--from', url],
    ['serve', '--upstream', `${url}&priority=x`],
    ['publish', '--to', url],
    ['push', url],
    ['gc', '--cache', url],
    ['pin', url, url],
    ['info', url],
    ['list', '--cache', url],
    ['verify', '--cache', `${USER}:${PASSWORD}@127.0.0.1:9/x`, '--upstream', url],
    ['doctor', '--cache', url],
    [url],
    ['--config', url, 'list'],
    ['list', `--${url}`],
    ['key', 'generate', url],
    ['key', 'public', url],
  ])('is not in what is said of: %s …', async (...args) => {
    const { exitCode, stdout, stderr } = await nixcache(args, {
      env: { PATH: process.env['PATH'] ?? '', HOME: '/nowhere' },
    });
    expect(exitCode).not.toBe(0);
    expect(stdout + stderr).not.toContain(PASSWORD);
    expect(stdout + stderr).not.toContain(TOKEN);
    expect(stderr).not.toContain('bug');
  });
});

describe('a key in the directory of a flake outside of git', () => {
  it('stops publish and discover before Nix has copied it', async () => {
    const nix = await createNixEnv();
    onTestFinished(nix.cleanup);
    const flake = join(nix.dir, 'flake');
    await mkdir(flake);
    await writeFile(join(flake, 'flake.nix'), FLAKE);
    const { secret } = generateKey('here-1');
    await writeFile(join(flake, 'here-1.secret'), secret, { mode: 0o600 });
    const to = ['--to', `oci:${join(nix.dir, 'cache')}`, '--no-upstream'];
    for (const args of [
      ['publish', '.', ...to, '--key-file', 'here-1.secret'],
      ['publish', flake, ...to],
      ['discover'],
    ]) {
      const { exitCode, stderr } = await nixcache(args, { env: nix.env, cwd: flake });
      expect(stderr).toContain(
        `the secret key ${flake}/here-1.secret lies in the flake's source ${flake}, which Nix copies`,
      );
      expect(stderr).not.toContain(secret.slice(8));
      expect(exitCode).toBe(2);
    }
    const kept = await readdir(nix.realStoreDir).catch(() => []);
    expect(kept.filter((name) => name.endsWith('-source'))).toEqual([]);
    await rename(join(flake, 'here-1.secret'), join(nix.dir, 'here-1.secret'));
    const moved = await nixcache(['publish', '.', ...to, '--key-file', '../here-1.secret'], {
      env: nix.env,
      cwd: flake,
    });
    expect(moved.exitCode, moved.stderr).toBe(0);
  });

  it.each([
    ['deep below, in git', ['publish', '.'], 'keys/cache.secret', {}, true],
    ['deep below, in git', ['discover', '--matrix'], 'keys/cache.secret', {}, true],
    ['deep below, under any name', ['discover'], 'sub/z.key', {}, false],
    ['that a variable holds too', ['publish', '.'], '.envrc', { NIX_SIGNING_KEY: generateKey('env-1').secret }, false],
    ['that a variable holds too', ['discover'], '.envrc', { NIXCACHE_SIGNING_KEY: generateKey('env-1').secret }, false],
    ['of an input from elsewhere', ['discover', '--override-input', 'x', '../other'], '../other/a', {}, false],
  ])('stops them at a key %s: %j', async (_, args, file, variables, inGit) => {
    const nix = await createNixEnv();
    onTestFinished(nix.cleanup);
    const flake = join(nix.dir, 'flake');
    const place = join(flake, file);
    await mkdir(join(place, '..'), { recursive: true });
    await mkdir(flake, { recursive: true });
    await writeFile(join(flake, 'flake.nix'), FLAKE);
    await writeFile(join(place, '..', 'flake.nix'), FLAKE);
    const [given] = Object.values(variables);
    const { secret } = generateKey('here-1');
    await writeFile(place, given === undefined ? secret : `export KEY="${given}"\n`);
    if (inGit)
      for (const git of [
        ['init', '--quiet'],
        ['add', '.'],
      ])
        await execa('git', ['-C', flake, ...git]);
    const to = args[0] === 'publish' ? ['--to', `oci:${join(nix.dir, 'cache')}`, '--no-upstream'] : [];
    const options = { env: { ...nix.env, ...variables }, cwd: flake };
    const { exitCode, stderr } = await nixcache([...args, ...to], options);
    expect(stderr).toContain(`the secret key ${place} lies in the flake's source`);
    expect(stderr).not.toContain((given ?? secret).slice(8));
    expect(exitCode).toBe(2);
    expect(await readdir(nix.realStoreDir).catch(() => [])).toEqual([]);
  });
});

it('reaches no other origin, and of the key and what is for a cloud nothing reaches any', async () => {
  const heard = { first: '', elsewhere: '' };
  const listen = async (at: keyof typeof heard, answer: () => Record<string, string> | undefined): Promise<string> => {
    const server = createServer((request, response) => {
      heard[at] += `${request.method} ${request.url} ${request.rawHeaders.join(' ')}\n`;
      request.on('data', (chunk: Buffer) => {
        heard[at] += chunk.toString('latin1');
      });
      const headers = answer();
      response.writeHead(headers === undefined ? 404 : 307, headers).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const elsewhere = await listen('elsewhere', () => undefined);
  const first = await listen('first', () => ({ location: `http://${elsewhere}/x` }));
  const nix = await createNixEnv();
  onTestFinished(() => nix.cleanup());
  const env = { ...nix.env, ...GIVEN, NIXCACHE_USERNAME: USER };
  const path = `/nix/store/${'0'.repeat(32)}-a`;
  for (const args of [
    ['copy', `http://${first}`, `oci:${join(nix.dir, 'cache')}`, path],
    ['copy', `${first}/team/cache`, `oci:${join(nix.dir, 'cache')}`],
    ['copy', `oci:${join(nix.dir, 'cache')}`, `${first}/team/cache`],
    ['publish', 'path:.', '--to', `${first}/team/cache`, '--upstream', `http://${first}`],
  ]) {
    expect((await nixcache(args, { env, cwd: nix.dir })).exitCode).not.toBe(0);
  }
  expect(heard.first).not.toBe('');
  expect(heard.elsewhere).not.toBe('');
  for (const secret of SECRETS) expect([secret, heard.elsewhere.includes(secret)]).toEqual([secret, false]);
  for (const secret of [GIVEN.NIX_SIGNING_KEY.split(':')[1] ?? '', GIVEN.AWS_SECRET_ACCESS_KEY]) {
    for (const form of [secret, Buffer.from(secret).toString('base64')]) expect(heard.first).not.toContain(form);
  }
});

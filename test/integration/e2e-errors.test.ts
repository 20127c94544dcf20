/** What people get wrong and what breaks: one line that helps, the right exit code, and nothing lost. */
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { hashFiles } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startServe } from '../support/e2e-cli.ts';
import { EXAMPLE, readJson, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { RealRegistry } from '../support/real-registry.ts';

const key = generateKey('errors-1');
const REFUSED = '127.0.0.1:1/team/cache';
let nix: NixEnv;
/** A layout with one path, which tests copy before they harm it. */
let whole = '';
let flake = '';
let published = '';
/** Begun first and asked for last: they wait for half a minute. */
let refused: Promise<readonly CliResult[]>;

beforeAll(async () => {
  nix = await createNixEnv();
  whole = join(nix.dir, 'whole');
  flake = await writeFlake(join(nix.dir, 'flake'), '{ it = run "it" "echo it > $out"; }');
  const result = await run(['publish', flake, '--to', `oci:${whole}`, '--json']);
  [published = ''] = readJson(result.stdout).pushed ?? [];
  await run(['publish', EXAMPLE, '--to', `oci:${join(nix.dir, 'built')}`]);
  refused = Promise.all([
    run(['publish', flake, '--to', REFUSED]),
    run(['push', published, '--to', REFUSED]),
    run(['gc', '--cache', REFUSED]),
  ]);
});
afterAll(() => nix.cleanup());

const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}, input?: string): Promise<CliResult> =>
  nixcache(args[0] === 'publish' || args[0] === 'push' ? [...args, '--no-upstream'] : args, {
    env: { ...nix.env, NIX_SIGNING_KEY: key.secret, ...env },
    ...(input === undefined ? {} : { input }),
  });

async function copyOfWhole(name: string): Promise<string> {
  const copy = join(nix.dir, name);
  await cp(whole, copy, { recursive: true });
  return copy;
}

/** One line of error, no stack, and no result. */
function expectError(result: CliResult, exitCode: number, message: RegExp): void {
  expect(result).toMatchObject({ exitCode, stdout: '' });
  const errors = result.stderr.split('\n').filter((line) => line.startsWith('nixcache: '));
  expect(errors).toEqual([expect.stringMatching(message)]);
  expect(result.stderr).not.toMatch(/^\s+at .*:\d+|is a bug in nixcache|"code":|\binvalid_type\b/m);
}

describe('what is asked for', () => {
  it.each([
    [
      'a flake that is not there',
      ['publish', '/nowhere/flake', '--quiet'],
      2,
      /cannot read the flake '\/nowhere\/flake': .*No such file/,
    ],
    [
      'a host that does not exist',
      ['publish', '--to', 'no-such-host.invalid/a/b', '--quiet'],
      1,
      /no-such-host\.invalid.* not found; is the name right/,
    ],
    [
      'a reference with a scheme',
      ['publish', '--to', 'docker://ghcr.io/o/r', '--quiet'],
      2,
      /--to: a cache reference has no 'docker:' before it; write ghcr\.io\/o\/r/,
    ],
    [
      'a key file that is not there',
      ['publish', '--key-file', '/nowhere/key', '--quiet'],
      2,
      /read signing key \/nowhere\/key \(--key-file\): there is no such file/,
    ],
    ['an unknown compression', ['publish', '--compression', 'rar'], 2, /--compression: 'rar' is not a compression/],
    [
      'a size that is none',
      ['publish', '--max-nar-size', 'big'],
      2,
      /--max-nar-size: 'big' is not a size: write it like/,
    ],
    ['a duration that is none', ['gc', '--retain', '30'], 2, /--retain: '30' is not a duration: write it like 30d/],
    ['a command that does not exist', ['publsh'], 2, /unknown command 'publsh'/],
  ])('%s', async (_what, [command = '', ...args], exitCode, message) => {
    const own = args.some((arg) => arg === '--to' || arg === '--cache') || command === 'publsh';
    const target = own ? [] : [command === 'gc' ? '--cache' : '--to', `oci:${whole}`];
    const subject = { publish: args[0]?.startsWith('/') ? [] : [flake], push: [published] }[command] ?? [];
    const before = await hashFiles(whole);
    expectError(await run([command, ...subject, ...args, ...target]), exitCode, message);
    expect(await hashFiles(whole)).toEqual(before);
  });

  it('a flake with a syntax error', async () => {
    const broken = join(nix.dir, 'syntax');
    await mkdir(broken);
    await writeFile(join(broken, 'flake.nix'), '{ outputs = { self }: { packages = \n');
    const result = await run(['publish', broken, '--to', `oci:${whole}`, '--quiet']);
    expectError(
      result,
      2,
      /cannot read the flake '.*syntax': syntax error, unexpected end of file.*flake\.nix:1:35; does 'nix flake metadata/,
    );
  });

  it('a Nix that is not installed', async () => {
    const result = await run(['publish', flake, '--to', `oci:${whole}`, '--quiet'], { PATH: '/nowhere' });
    expectError(result, 1, /no Nix found: .*install Nix from/);
  });

  it('a key that cannot be read, though there is no Nix either', async () => {
    const args = ['publish', flake, '--to', `oci:${whole}`, '--quiet', '--key-file', '/nowhere/key'];
    expectError(await run(args, { PATH: '/nowhere' }), 2, /read signing key \/nowhere\/key .*no such file/);
  });

  it.each([
    ['nonsense', 'a secret key must read'],
    [`short-1:${Buffer.alloc(12).toString('base64')}`, 'bytes'],
    [key.public, 'bytes'],
  ])('a key like %s', async (text, message) => {
    const result = await run(['publish', flake, '--to', `oci:${whole}`, '--quiet'], { NIX_SIGNING_KEY: text });
    expectError(result, 2, new RegExp(`read signing key NIX_SIGNING_KEY: .*${message}`));
    expect(result.stderr).not.toContain(text.split(':')[1] ?? text.repeat(2));
  });

  it('a store path that is not valid here', async () => {
    const path = `/nix/store/${'0'.repeat(32)}-none`;
    expectError(
      await run(['push', path, '--to', `oci:${whole}`, '--quiet']),
      1,
      /-none: not valid in the local store; build/,
    );
  });
});

describe('a registry', () => {
  it('that wants a password gets the right one, and no secret is shown', async () => {
    // me:correct horse; perl -e 'print crypt("correct horse", "\$2y\$05\$abcdefghijklmnopqrstuu")'
    const htpasswd = 'me:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2';
    const registry = await RealRegistry.start({ htpasswd });
    onTestFinished(() => registry.stop());
    const to = ['publish', flake, '--to', `${registry.host}/team/cache`, '--quiet'];
    expectError(await run(to), 1, /(?:401|credentials|log in)/i);
    const wrong = await run(to, { NIXCACHE_USERNAME: 'me', NIXCACHE_PASSWORD: 'battery staple' });
    expectError(wrong, 1, /401|credentials/i);
    expect(wrong.stderr).not.toContain('staple');
    expect(await run([...to, '--username', 'me', '--password-stdin'], {}, 'correct horse\n')).toMatchObject({
      exitCode: 0,
    });
    const env = { ...nix.env, NIXCACHE_USERNAME: 'me', NIXCACHE_PASSWORD: 'correct horse' };
    await using server = await startServe(['--from', `${registry.host}/team/cache`, '--no-upstream'], { env });
    expect(await substitute(server.url, [key.public], [published])).toEqual([published]);
  });

  it('that is none, and answers HTML to everything', async () => {
    const portal = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html><body>Welcome</body></html>');
    });
    await new Promise<void>((resolve) => portal.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      portal.close();
      portal.closeAllConnections();
    });
    const { port } = portal.address() as AddressInfo;
    for (const args of [['publish', flake], ['publish', flake, '--dry-run'], ['push', published], ['gc']]) {
      const result = await run([...args, '--cache', `127.0.0.1:${port}/team/cache`, '--quiet']);
      expectError(result, 1, /is this an OCI registry\?/);
    }
  });
});

describe('a disk', () => {
  it('that is full stops the publish, and what was there is whole', async () => {
    const mount = join(nix.dir, 'full');
    await mkdir(mount);
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=320k', 'none', mount]);
    try {
      const cache = join(mount, 'c');
      await cp(whole, cache, { recursive: true });
      const result = await run(['publish', EXAMPLE, '--to', `oci:${cache}`, '--quiet']);
      expectError(result, 5, /no space left|disk is full/);
      await using server = await startServe(['--from', `oci:${cache}`, '--no-upstream'], nix);
      expect(await substitute(server.url, [key.public], [published])).toEqual([published]);
      // What the failed run left lying does not stay in the way for ever: there is room for what fits.
      const small = await writeFlake(join(nix.dir, 'small'), '{ small = run "small" "echo small > $out"; }');
      expect(await run(['publish', small, '--to', `oci:${cache}`, '--quiet'])).toMatchObject({ exitCode: 0 });
    } finally {
      await execa('umount', ['-l', mount]);
    }
  });

  it('that is read-only takes nothing, and is served from', async () => {
    const mount = join(nix.dir, 'read-only');
    await mkdir(mount);
    await execa('mount', ['--bind', await copyOfWhole('frozen'), mount]);
    try {
      await execa('mount', ['-o', 'remount,ro,bind', mount]);
      expectError(await run(['publish', EXAMPLE, '--to', `oci:${mount}`, '--quiet']), 1, /read-only/);
      await using server = await startServe(['--from', `oci:${mount}`, '--no-upstream'], nix);
      expect(await substitute(server.url, [key.public], [published])).toEqual([published]);
    } finally {
      await execa('umount', ['-l', mount]);
    }
  });
});

interface LayoutIndex {
  readonly manifests: { digest: string; size: number; annotations: Readonly<Record<string, string>> }[];
}

/** Replaces the manifest that `cache-index` names. */
async function rewriteCacheIndex(layout: string, change: (text: string) => string): Promise<void> {
  const file = join(layout, 'index.json');
  const index = JSON.parse(await readFile(file, 'utf8')) as LayoutIndex;
  for (const descriptor of index.manifests) {
    if (descriptor.annotations['org.opencontainers.image.ref.name'] !== 'cache-index') continue;
    const bytes = Buffer.from(
      change(await readFile(join(layout, 'blobs', descriptor.digest.replace(':', '/')), 'utf8')),
    );
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(layout, 'blobs/sha256', hex), bytes);
    Object.assign(descriptor, { digest: `sha256:${hex}`, size: bytes.length });
  }
  await writeFile(file, JSON.stringify(index));
}

describe('a cache', () => {
  const writers = (cache: string): readonly (readonly string[])[] => [
    ['publish', EXAMPLE, '--to', `oci:${cache}`, '--quiet'],
    ['push', published, '--to', `oci:${cache}`, '--quiet'],
    ['gc', '--cache', `oci:${cache}`, '--quiet'],
  ];

  it('whose index.json is garbage is never taken for an empty one', async () => {
    const cache = await copyOfWhole('garbage-index-json');
    await writeFile(join(cache, 'index.json'), 'garbage');
    const before = await hashFiles(cache);
    for (const args of writers(cache))
      expectError(await run(args), 1, /index\.json: it is no OCI image index: .*; restore/);
    expect(await hashFiles(cache)).toEqual(before);
    const serve = await run(['serve', '--from', `oci:${cache}`, '--port', '0', '--no-upstream']);
    expectError(serve, 1, /index\.json: it is no OCI image index/);
  });

  it('whose cache-index is garbage is left alone by writers, and can be healed as they say', async () => {
    const cache = await copyOfWhole('garbage-cache-index');
    await rewriteCacheIndex(cache, () => '{"this":"is garbage"}');
    const before = await hashFiles(cache);
    for (const args of writers(cache)) {
      expectError(
        await run(args),
        1,
        /cache-index of oci:.* is not the OCI manifest it should be: .*; it can be rebuilt/,
      );
    }
    expect(await hashFiles(cache)).toEqual(before);
    await using server = await startServe(['--from', `oci:${cache}`, '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], [published])).toEqual([published]);

    const file = join(cache, 'index.json');
    const index = JSON.parse(await readFile(file, 'utf8')) as LayoutIndex;
    const manifests = index.manifests.filter(({ annotations }) => !Object.values(annotations).includes('cache-index'));
    await writeFile(file, JSON.stringify({ ...index, manifests }));
    const again = await run(['push', published, '--to', `oci:${cache}`, '--json']);
    expect(readJson(again.stdout)).toMatchObject({ pushed: [], cached: { paths: [published] } });
  });

  it('of a newer format is not written, and read as far as it is understood', async () => {
    const cache = await copyOfWhole('newer');
    await rewriteCacheIndex(cache, (text) =>
      text.replace('"io.nixcache.format-version":"1"', '"io.nixcache.format-version":"2"'),
    );
    const before = await hashFiles(cache);
    for (const args of writers(cache))
      expectError(await run(args), 1, /of cache format 2, .*up to 1: install a newer nixcache/);
    expect(await hashFiles(cache)).toEqual(before);
    await using server = await startServe(['--from', `oci:${cache}`, '--no-upstream'], nix);
    expect((await fetch(`${server.url}/${published.slice(11, 43)}.narinfo`)).status).toBe(200);
    expect((await server.stop()).stderr).toMatch(/^warning: .*cache format 2/m);
  });
});

describe('a registry that is away', () => {
  it('that refuses connections is tried for a while, and then named', async () => {
    for (const result of await refused) {
      expectError(
        result,
        1,
        /127\.0\.0\.1:1 refused the connection; is a server running there, and is the port right\?$/,
      );
      expect(result.stderr).toMatch(
        /^(?:GET|HEAD|POST) http:.* refused the connection; .*; trying again in \d+ m?s \(\d of 8\)$/m,
      );
    }
  });
});

/** What is in store paths, as `serve` shows it and as real Nix has it, out of a cache and out of an upstream of another. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { noise } from '../support/bytes.ts';
import { nixcache, type Serving, startServe } from '../support/e2e-cli.ts';
import { runNix } from '../support/e2e-nix.ts';
import { type FileTree, plantTree } from '../support/file-tree.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const key = generateKey('inside-1');
const TREE: FileTree = {
  entries: [
    ['bin', { entries: [['tool', { contents: '#!/bin/sh\necho hello\n', mode: 0o755 }]] }],
    ['empty', { contents: '' }],
    ['large', { contents: Buffer.alloc(6_000_000, noise(65_521, 1)) }],
    [
      'lib',
      {
        entries: [
          ['dev-disk-by\\x2dlabel.device', { contents: 'unit' }],
          ['up', { target: '../bin/tool' }],
        ],
      },
    ],
    ['name with ü & <b>', { contents: 'x' }],
    ['page.html', { contents: '<p>a page</p><script>document.write("it " + "ran")</script>' }],
    ['<img src=x onerror=document.write(1)>', { contents: 'x' }],
    ['sbin', { target: 'bin' }],
  ],
};
const EXPRESSION = 'derivation { name = "made"; system = "x86_64-linux"; builder = "/bin/sh"; }';
const LOG = 'building\n\u001b[1mdone\u001b[0m\n';

let nix: NixEnv;
let own: Serving;
let beyond: Serving;
let path: string;
let drv: string;

beforeAll(async () => {
  nix = await createNixEnv();
  plantTree(join(nix.dir, 'tree'), TREE);
  path = await runNix(nix, 'nix-store', '--add', join(nix.dir, 'tree'));
  // Nix 2.8 wants it to be there before it asks for its log.
  drv = await runNix(nix, 'nix-instantiate', '--expr', EXPRESSION);
  const logs = join(nix.dir, 'logs');
  await mkdir(join(logs, 'log'), { recursive: true });
  await writeFile(join(logs, 'nix-cache-info'), 'StoreDir: /nix/store\n');
  await writeFile(join(logs, 'log', basename(drv)), LOG);
  const cache = `oci:${join(nix.dir, 'cache')}`;
  await nixcache(['push', path, drv, '--to', cache, '--no-upstream'], {
    env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
  });
  own = await startServe(['--from', cache, '--upstream', pathToFileURL(logs).href], nix);
  const trusting = ['--trusted-public-key', key.public];
  beyond = await startServe(['--from', `oci:${join(nix.dir, 'none')}`, '--upstream', own.url, ...trusting], nix);
});
afterAll(async () => {
  await beyond?.[Symbol.asyncDispose]();
  await own?.[Symbol.asyncDispose]();
  await nix?.cleanup();
});

const encode = (names: string): string => names.split('/').map(encodeURIComponent).join('/');

const BROWSER = '/usr/bin/chromium';

it.skipIf(!existsSync(BROWSER))('runs nothing in a browser', async () => {
  const show = async (name: string): Promise<string> => {
    const args = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${join(nix.dir, 'browser')}`];
    const shown = await execa(BROWSER, [...args, '--dump-dom', `${own.url}${path}/${name}`], { timeout: 60_000 });
    return shown.stdout;
  };
  expect(await show('page.html')).toContain('a page');
  expect(await show('page.html')).not.toContain('it ran');
  expect(await show('')).toContain('&lt;img src=x');
});

describe.each([
  ['the cache', () => own.url],
  ['an upstream', () => beyond.url],
])('a path out of %s', (_what, url) => {
  it('has the files that the store has', async () => {
    const root = join(nix.realStoreDir, basename(path));
    let seen = 0;
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name);
      const names = file.slice(root.length + 1);
      const reply = await fetch(`${url()}${path}/${encode(names)}`, { redirect: 'manual' });
      const body = Buffer.from(await reply.arrayBuffer());
      if (entry.isFile()) {
        expect([names, reply.status, body.equals(await readFile(file))]).toEqual([names, 200, true]);
        const isExecutable = ((await stat(file)).mode & 0o100) !== 0;
        expect(reply.headers.get('nar-executable')).toBe(isExecutable ? '1' : null);
      } else if (entry.isSymbolicLink()) {
        expect([names, reply.status]).toEqual([names, 302]);
        const location = new URL(reply.headers.get('location') ?? '', reply.url).pathname;
        expect(location).toBe(new URL(await readlink(file), `http://x${path}/${names}`).pathname);
      } else expect(body.toString()).toContain('<table>');
      seen += 1;
    }
    expect(seen).toBe(11);
  });

  it('has parts of a file', async () => {
    const reply = await fetch(`${url()}${path}/large`, { headers: { range: 'bytes=3000000-3999999' } });
    const large = await readFile(join(nix.realStoreDir, basename(path), 'large'));
    const part = Buffer.from(await reply.arrayBuffer());
    expect([reply.status, part.equals(large.subarray(3_000_000, 4_000_000))]).toEqual([206, true]);
  });

  describe.each(NIX_VERSIONS)('for $name', (version) => {
    let client: NixEnv;
    beforeAll(async () => {
      requireNix(version);
      client = await createNixEnv({ bin: version.bin });
    });
    afterAll(() => client.cleanup());

    it('is listed, shown and has its log', async () => {
      const run = (...args: string[]) => runNix(client, 'nix', ...args);
      expect(await run('store', 'cat', '--store', url(), `${path}/bin/tool`)).toContain('echo hello');
      const listing = JSON.parse(await run('store', 'ls', '--store', url(), '--json', '-R', path));
      const ours = await (await fetch(`${url()}/${basename(path).slice(0, 32)}.ls`)).json();
      expect(Object.keys(listing.entries)).toEqual(Object.keys((ours as { root: { entries: object } }).root.entries));
      expect(await run('log', '--store', url(), drv)).toContain('building');
    });
  });
});

/** Writers on the command line before a cache that cannot be read: exit code 1, one line, and nothing has changed. */
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashFiles } from '../support/e2e-caches.ts';
import { type CliResult, nixcache } from '../support/e2e-cli.ts';
import { runNix } from '../support/e2e-nix.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

let nix: NixEnv;
let first: string;
let second: string;

beforeAll(async () => {
  nix = await createNixEnv();
  const add = async (name: string): Promise<string> => {
    await writeFile(join(nix.dir, name), `the file ${name}`);
    return (await runNix(nix, 'nix-store', '--add', join(nix.dir, name))).trim();
  };
  [first, second] = [await add('first'), await add('second')];
  const pushed = await run('push', first, '--to', `oci:${join(nix.dir, 'whole')}`, '--no-upstream');
  expect(pushed).toMatchObject({ exitCode: 0 });
});
afterAll(() => nix.cleanup());

const run = (...args: string[]): Promise<CliResult> => nixcache([...args, '--quiet'], nix);
const WRITERS: Readonly<Record<string, (cache: string) => Promise<CliResult>>> = {
  push: (cache) => run('push', second, '--to', cache, '--no-upstream'),
  gc: (cache) => run('gc', '--cache', cache, '--retain', '30d'),
  pin: (cache) => run('pin', 'keep', first, '--cache', cache),
};

async function expectRefused(write: (cache: string) => Promise<CliResult>, cache: string, name: RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await write(cache);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('warning:'));
  expect(errors).toEqual([expect.stringMatching(name)]);
  expect(stderr).not.toContain('this is a bug');
}

describe.each(Object.entries(WRITERS))('%s', (writer, write) => {
  it('leaves a registry as it was whose index is not ours to read', async () => {
    const registry = await FakeRegistry.start();
    try {
      const cache = `${registry.host}/team/cache`;
      expect(await run('push', first, '--to', cache, '--no-upstream')).toMatchObject({ exitCode: 0 });
      const { manifests, tags } = registry.repository('team/cache');
      const digest = tags.get('cache-index') ?? '';
      const stored = manifests.get(digest);
      const text = stored?.bytes.toString('utf8').replace('"format-version":"1"', '') ?? '';
      expect(text).toContain('io.nixcache.format-version":"1"');
      const bytes = Buffer.from(text.replace('io.nixcache.format-version":"1"', 'io.nixcache.format-version":"9"'));
      registry.repository('team/cache').putManifest('cache-index', { mediaType: stored?.mediaType ?? '', bytes }, 0);
      const before = registry.snapshot();
      await expectRefused(write, cache, /cache-index.*cache format 9/);
      expect(registry.snapshot()).toEqual(before);
    } finally {
      await registry.close();
    }
  });

  it.each<readonly [string, RegExp, (layout: string) => Promise<unknown>]>([
    ['index.json was cut short', /index\.json/, (layout) => truncate(join(layout, 'index.json'), 40)],
    ['index.json is empty', /index\.json/, (layout) => writeFile(join(layout, 'index.json'), '')],
    ['index.json is gone', /index\.json/, (layout) => rm(join(layout, 'index.json'))],
    ['a manifest is damaged', /sha256/, (layout) => damage(layout, (text) => text.includes('"mediaType"'))],
    ['entries are damaged', /segment seg-|sha256/, (layout) => damage(layout, (_text, bytes) => isZstd(bytes))],
  ])('leaves a layout as it was when %s', async (name, named, harm) => {
    const layout = join(nix.dir, `${writer}-${name.replaceAll(/\W+/g, '-')}`);
    await cp(join(nix.dir, 'whole'), layout, { recursive: true });
    await harm(layout);
    const before = await hashFiles(layout);
    await expectRefused(write, `oci:${layout}`, named);
    expect(await hashFiles(layout)).toEqual(before);
  });
});

const isZstd = (bytes: Buffer): boolean => bytes.length > 4 && bytes.readUInt32LE(0) === 0xfd2fb528;

/** Changes one byte of every blob that `matches`. */
async function damage(layout: string, matches: (text: string, bytes: Buffer) => boolean): Promise<void> {
  const directory = join(layout, 'blobs/sha256');
  let count = 0;
  for (const name of await readdir(directory)) {
    const bytes = await readFile(join(directory, name));
    if (!matches(bytes.toString('latin1'), bytes)) continue;
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(join(directory, name), bytes);
    count += 1;
  }
  expect(count).toBeGreaterThan(0);
}

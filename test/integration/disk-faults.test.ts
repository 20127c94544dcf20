/** Disks that are full or read-only, and a registry that goes away: a clean failure or none, and the next run succeeds. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { hashFiles, layoutTags, startRegistry } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, startFreshServe, startNixcache, startServe } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { openCache } from '../support/e2e-stores.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('disks-1');
const packages = `rec {
  small = run "small" "echo small > $out";
${Array.from({ length: 6 }, (_, i) => `  p${i} = run "p-${i}" "head -c 4000000 /dev/urandom > $out; echo \${small} >> $out";`).join('\n')}
  top = run "top" "echo ${Array.from({ length: 6 }, (_, i) => `\${p${i}}`).join(' ')} > $out";
}`;

let nix: NixEnv;
let small: string;
let top: string;
let closure: readonly string[];

beforeAll(async () => {
  nix = await createNixEnv();
  const flake = await writeFlake(join(nix.dir, 'flake'), packages);
  const scratch = `oci:${join(nix.dir, 'scratch')}`;
  const built = await nixcache(['publish', flake, '--to', scratch, '--no-upstream', '--json'], nix);
  const outputs = readJson(built.stdout).outputs.map((output) => output.outputs['out'] ?? '');
  top = outputs.find((path) => path.endsWith('-top')) ?? '';
  small = outputs.find((path) => path.endsWith('-small')) ?? '';
  closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', top)).sort();
});
afterAll(() => nix.cleanup());

/** A file system of its own in memory; gone with the test. */
async function mount(
  name: string,
  size: string,
): Promise<{ readonly path: string; readonly remount: (options: string) => Promise<void> }> {
  const path = join(nix.dir, name);
  await mkdir(path);
  const result = await execa('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'tmpfs', path], {
    reject: false,
  });
  if (result.exitCode !== 0)
    throw new Error(`these tests mount file systems, for which they must run as root: ${result.stderr}`);
  onTestFinished(async () => {
    await execa('umount', ['--lazy', path]);
    await rm(path, { recursive: true });
  });
  return { path, remount: async (options) => void (await execa('mount', ['-o', `remount,${options}`, path])) };
}

const push = (path: string, cache: string, env: Record<string, string> = {}): Promise<CliResult> =>
  nixcache(['push', path, '--to', cache, '--no-upstream', '--quiet'], {
    env: { ...nix.env, NIX_SIGNING_KEY: key.secret, ...env },
  });

async function expectServed(cache: string, paths: readonly string[], expected: readonly string[]): Promise<void> {
  await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
  expect(await substitute(server.url, [key.public], paths)).toEqual(expected);
}

/** How many entries a strict reader finds. */
async function entriesIn(cache: string): Promise<number> {
  const http = new HttpClient();
  try {
    const reader = await IndexReader.open({ store: await openCache(cache, http), strict: true });
    await reader.refresh();
    return reader.status().entries;
  } finally {
    await http.destroy();
  }
}

describe('a disk that is full', () => {
  it('under a layout fails the publish, which is completed once there is room', async () => {
    const disk = await mount('full-layout', '9m');
    const cache = `oci:${join(disk.path, 'cache')}`;
    expect(await push(small, cache)).toMatchObject({ exitCode: 0 });
    const failed = await push(top, cache);
    expect(failed).toMatchObject({ exitCode: 5, stderr: expect.stringMatching(/full|no space left.*make room/i) });
    const [, kept = ''] = /(\d+) of \d+ paths are in the cache/.exec(failed.stderr) ?? [];
    expect(await entriesIn(cache)).toBe(1 + Number(kept));
    await expectServed(cache, [small], [small]);
    await disk.remount('size=100m');
    expect(await push(top, cache)).toMatchObject({ exitCode: 0 });
    await expectServed(cache, [top], closure);
  });

  it('under index.json leaves the tags as they were', async () => {
    const disk = await mount('full-index', '9m');
    const layout = join(disk.path, 'cache');
    expect(await push(small, `oci:${layout}`)).toMatchObject({ exitCode: 0 });
    const tags = await layoutTags(layout);
    await writeFile(join(disk.path, 'filler'), Buffer.alloc(64 * 1024 * 1024)).catch(() => undefined);
    const gc = await nixcache(['gc', '--cache', `oci:${layout}`, '--retain', '30d', '--quiet'], nix);
    expect([0, 1]).toContain(gc.exitCode);
    const pinned = await nixcache(['pin', 'keep', small, '--cache', `oci:${layout}`, '--quiet'], nix);
    expect(pinned).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('full') });
    expect(await layoutTags(layout)).toEqual(tags);
    await expectServed(`oci:${layout}`, [small], [small]);
  });

  it('under TMPDIR fails a publish into a registry, which is completed with room', async () => {
    const disk = await mount('full-spool', '5m');
    const host = await startRegistry();
    onTestFinished(() => host.stop());
    const cache = host.cache('spooled');
    const failed = await push(top, cache, { TMPDIR: disk.path });
    expect(failed).toMatchObject({
      exitCode: 5,
      stderr: expect.stringMatching(
        /write a compressed NAR to .* full; free some space, or put the cache or TMPDIR on another disk/,
      ),
    });
    expect(await push(top, cache)).toMatchObject({ exitCode: 0 });
    await expectServed(cache, [top], closure);
  });

  it('under TMPDIR fails a discovery and a publish, which name it', async () => {
    const disk = await mount('full-questions', '64k');
    await writeFile(join(disk.path, 'filler'), Buffer.alloc(1024 * 1024)).catch(() => undefined);
    const flake = join(nix.dir, 'flake');
    for (const args of [
      ['discover', flake],
      ['publish', flake, '--to', `oci:${join(nix.dir, 'never')}`, '--no-upstream'],
    ]) {
      const failed = await nixcache([...args, '--quiet'], { env: { ...nix.env, TMPDIR: disk.path } });
      expect(failed).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/write a question to Nix to .*full.* set TMPDIR to another directory/),
      });
    }
  });

  it('under the index copy of a reader costs nothing but the copy', async () => {
    const disk = await mount('full-mirror', '1m');
    await writeFile(join(disk.path, 'filler'), Buffer.alloc(2 * 1024 * 1024)).catch(() => undefined);
    const cache = `oci:${join(nix.dir, 'beside')}`;
    expect(await push(top, cache, { XDG_CACHE_HOME: join(disk.path, 'cache') })).toMatchObject({ exitCode: 0 });
    await using server = await startServe(
      ['--from', cache, '--no-upstream', '--index-dir', join(disk.path, 'index')],
      nix,
    );
    expect(await substitute(server.url, [key.public], [top])).toEqual(closure);
  });
});

describe('a disk that is read-only', () => {
  it('under a layout fails writers and serves readers', async () => {
    const disk = await mount('read-only', '64m');
    const cache = `oci:${join(disk.path, 'cache')}`;
    expect(await push(small, cache)).toMatchObject({ exitCode: 0 });
    await disk.remount('ro');
    const before = await hashFiles(disk.path);
    for (const args of [
      ['push', top, '--to', cache, '--no-upstream'],
      ['pin', 'keep', small, '--cache', cache],
    ]) {
      const failed = await nixcache([...args, '--quiet'], { env: { ...nix.env, NIX_SIGNING_KEY: key.secret } });
      expect(failed).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('read-only') });
    }
    await expectServed(cache, [small], [small]);
    expect(await hashFiles(disk.path)).toEqual(before);
    await disk.remount('rw');
    expect(await push(top, cache)).toMatchObject({ exitCode: 0 });
    await expectServed(cache, [top], closure);
  });

  it('under the index copy of a reader costs nothing but the copy', async () => {
    const disk = await mount('read-only-mirror', '1m');
    await disk.remount('ro');
    const cache = `oci:${join(nix.dir, 'read-only-beside')}`;
    expect(await push(top, cache, { XDG_CACHE_HOME: join(disk.path, 'cache') })).toMatchObject({ exitCode: 0 });
    await using server = await startServe(
      ['--from', cache, '--no-upstream', '--index-dir', join(disk.path, 'index')],
      nix,
    );
    expect(await substitute(server.url, [key.public], [top])).toEqual(closure);
  });
});

describe('a registry that goes away in the middle of a publish', () => {
  it.each([0, 300, 900])('and comes back %d ms after its first blob came costs a retry at most', async (afterMs) => {
    const host = await startRegistry();
    onTestFinished(() => host.stop());
    const cache = host.cache('interrupted');
    await using running = startNixcache(['push', top, '--to', cache, '--no-upstream', '--quiet'], {
      env: { ...nix.env, NIX_SIGNING_KEY: key.secret },
    });
    const stored = async (): Promise<number> =>
      (await hashFiles(join(host.registry.directory, 'data')).catch(() => new Map())).size;
    await expect.poll(stored).toBeGreaterThan(0);
    await delay(afterMs);
    await host.registry.pause();
    await delay(1500);
    await host.registry.resume();
    expect(await running.result).toMatchObject({ exitCode: 0 });
    await expectServed(cache, [top], closure);
  });
});

/** The main job from end to end, in both kinds of cache: publish the example flake, serve it, let Nix substitute it. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { CACHE_KINDS, type CacheHost } from '../support/e2e-caches.ts';
import { type CliResult, nixcache, type Serving, startServe } from '../support/e2e-cli.ts';
import {
  copyExample,
  EXAMPLE,
  lines,
  type PublishJson,
  readJson,
  runNix,
  storeContents,
  substitute,
  withClient,
} from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('e2e-1');
const stranger = generateKey('stranger-1');
const LIGHTHOUSE = 'nixosConfigurations.lighthouse';

describe.each(CACHE_KINDS)('a cache in $name', ({ start }) => {
  let host: CacheHost;
  let publisher: NixEnv;
  let server: Serving;
  let first: PublishJson;
  /** Closure of all that was published first. */
  let closure: string[];
  let lighthouse = '';

  const publish = (flake: string, env: NixEnv, ...args: string[]): Promise<CliResult> =>
    nixcache(['publish', flake, '--to', host.cache('main'), '--no-upstream', '--json', ...args], {
      env: { ...env.env, NIX_SIGNING_KEY: key.secret },
    });
  const outputOf = ({ outputs }: PublishJson, attrPath: string): string =>
    outputs.find((output) => output.attrPath === attrPath)?.outputs['out'] ?? '';
  const builtBy = ({ stderr }: CliResult): string[] =>
    [...stderr.matchAll(/^building (\S+)$/gm)].map(([, name = '']) => name).sort();
  const status = async (): Promise<{ readonly entries: number }> => {
    const refreshed = await fetch(`${server.url}/_refresh`, { method: 'POST' });
    expect(refreshed.status).toBe(200);
    return (await (await fetch(`${server.url}/_status`)).json()) as { readonly entries: number };
  };

  beforeAll(async () => {
    [host, publisher] = await Promise.all([start(), createNixEnv()]);
    const result = await publish(EXAMPLE, publisher);
    if (result.exitCode !== 0) throw new Error(result.stderr);
    first = readJson(result.stdout);
    lighthouse = outputOf(first, LIGHTHOUSE);
    const outputs = first.outputs.flatMap((output) => Object.values(output.outputs));
    closure = lines(await runNix(publisher, 'nix-store', '--query', '--requisites', ...outputs)).sort();
    server = await startServe(['--from', host.cache('main'), '--no-upstream'], { env: publisher.env });
  });

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await Promise.all([host?.stop(), publisher?.cleanup()]);
  });

  it('has the whole closure of every output', async () => {
    expect([...(first.pushed ?? [])].sort()).toEqual(closure);
    expect(closure.length).toBeGreaterThan(15);
    expect(first.outputs.map((output) => output.status)).toEqual(first.outputs.map(() => 'built'));
    const known = await runNix(publisher, 'nix', 'path-info', '--store', server.url, '--recursive', lighthouse);
    const expected = await runNix(publisher, 'nix-store', '--query', '--requisites', lighthouse);
    expect(lines(known).sort()).toEqual(lines(expected).sort());
  });

  it('is copied into an empty store, and what came is right', async () => {
    await withClient(server.url, [key.public], async (client) => {
      await runNix(client, 'nix', 'copy', '--from', server.url, lighthouse);
      await runNix(client, 'nix', 'store', 'verify', '--recursive', lighthouse);
      await runNix(client, 'nix-store', '--verify', '--check-contents');
      const mine = await runNix(publisher, 'nix-store', '--dump', join(publisher.dir, 'root', lighthouse));
      expect(await runNix(client, 'nix-store', '--dump', join(client.dir, 'root', lighthouse))).toBe(mine);
    });
  });

  it('is substituted by nix-store, all outputs of a derivation too', async () => {
    expect(await substitute(server.url, [key.public], closure)).toEqual(closure);
  });

  it('passes when Nix verifies it where it lies', async () => {
    await runNix(
      publisher,
      'nix',
      'store',
      'verify',
      '--store',
      server.url,
      '--recursive',
      lighthouse,
      '--option',
      'trusted-public-keys',
      key.public,
    );
    const distrusted = runNix(
      publisher,
      'nix',
      'store',
      'verify',
      '--store',
      server.url,
      '--recursive',
      lighthouse,
      '--option',
      'trusted-public-keys',
      stranger.public,
    );
    await expect(distrusted).rejects.toThrow(/untrusted|not trusted/);
  });

  it('gives nothing to a client that trusts another key', async () => {
    await withClient(server.url, [stranger.public], async (client) => {
      await expect(runNix(client, 'nix', 'copy', '--from', server.url, lighthouse)).rejects.toThrow(/signature/);
      await expect(runNix(client, 'nix-store', '--realise', lighthouse)).rejects.toThrow(/not signed by any/);
      expect(await storeContents(client)).toEqual([]);
    });
  });

  it('takes nothing from a second publish but the record of its roots', async () => {
    const before = await host.tags('main');
    const again = await publish(EXAMPLE, publisher);
    expect(again.exitCode).toBe(0);
    expect(readJson(again.stdout)).toMatchObject({ pushed: [], uploadedBytes: 0, segments: [expect.any(String)] });
    expect(builtBy(again)).toEqual([]);
    const added = (await host.tags('main')).filter((tag) => !before.includes(tag));
    expect(added).toEqual(readJson(again.stdout).segments);
    expect(await status()).toMatchObject({ entries: closure.length });
  });

  it('spares a new builder the building and the downloading', async () => {
    const builder = await createNixEnv();
    try {
      const result = await publish(EXAMPLE, builder);
      expect(result.exitCode).toBe(0);
      expect(readJson(result.stdout)).toMatchObject({ pushed: [], uploadedBytes: 0 });
      expect(builtBy(result)).toEqual([]);
      const outputs = await storeContents(builder);
      expect(outputs.filter((path) => closure.includes(path))).toEqual([]);
    } finally {
      await builder.cleanup();
    }
  });

  it('takes only what a change in the flake has changed, from a builder that has nothing', async () => {
    const builder = await createNixEnv();
    try {
      const flake = await copyExample(join(builder.dir, 'flake'), { 'src/countdown.bf': '+' });
      const two = await publish(flake, builder, '--only', 'packages.*.countdown', '--only', 'packages.*.primes');
      expect(two.exitCode).toBe(0);
      const { pushed: alone = [], outputs: ofTwo } = readJson(two.stdout);
      expect(alone).toEqual([outputOf(readJson(two.stdout), 'packages.x86_64-linux.countdown')]);
      expect(ofTwo.map((output) => output.status)).toEqual(['built', 'cached']);
      expect(builtBy(two)).toEqual(['countdown-1.0']);
      // The compiler was fetched; the other output was not.
      const at = (name: string): string => outputOf(first, `packages.x86_64-linux.${name}`);
      const fetched = (await storeContents(builder)).filter((path) => closure.includes(path));
      expect(fetched).toEqual([at('bfc')]);

      const all = await publish(flake, builder);
      expect(all.exitCode).toBe(0);
      const { pushed: others = [], outputs } = readJson(all.stdout);
      const pushed = [...alone, ...others];
      const changed = ['etc', 'manual-1.0', 'nixos-system-lighthouse-1.0', 'small-world-1.0', 'small-world-shell'];
      expect(others.map((path) => path.slice(44)).sort()).toEqual([...changed, 'manual-1.0-man'].sort());
      // The host is built from its activation script, and does not refer to it.
      expect(builtBy(all)).toEqual([...changed, 'activate'].sort());
      expect(await status()).toMatchObject({ entries: closure.length + pushed.length });
      const now = outputs.flatMap((output) => Object.values(output.outputs));
      expect(await substitute(server.url, [key.public], now)).toEqual(expect.arrayContaining(pushed));
    } finally {
      await builder.cleanup();
    }
  });

  it('keeps what publishers of two systems bring', async () => {
    // The example's builders are scripts: this machine can run them in the other system's name.
    const arm = await createNixEnv({ config: ['extra-platforms = aarch64-linux'] });
    try {
      const before = await status();
      const result = await publish(EXAMPLE, arm, '--system', 'aarch64-linux');
      expect(result.exitCode).toBe(0);
      const published = readJson(result.stdout);
      const buoy = outputOf(published, 'nixosConfigurations.buoy');
      expect(published.pushed).toContain(buoy);
      expect(await status()).toMatchObject({ entries: before.entries + (published.pushed?.length ?? 0) });
      const both = await substitute(server.url, [key.public], [buoy, lighthouse]);
      expect(both).toEqual(expect.arrayContaining([buoy, lighthouse]));
    } finally {
      await arm.cleanup();
    }
  });
});

/** Binary caches of a Nix whose store is not /nix/store, through `serve` and `copy`. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nixcache, startServe } from '../support/e2e-cli.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const EXPRESSION = `builtins.toFile "outer" "see \${builtins.toFile "inner" "hello"}"`;

/** A Nix, one of its paths, and a cache of its with that, in a directory. */
interface Made {
  readonly nix: NixEnv;
  readonly path: string;
  readonly cache: string;
}

async function make(shape: 'rooted' | 'own-store-dir', bin: string | undefined): Promise<Made> {
  const nix = await createNixEnv({ shape, bin, config: ['require-sigs = false'] });
  const options = { env: nix.env, extendEnv: false };
  const made = await execa('nix-instantiate', ['--eval', '--json', '--read-write-mode', '-E', EXPRESSION], options);
  const [path, cache] = [JSON.parse(made.stdout) as string, `file://${join(nix.dir, 'cache')}`];
  await execa('nix', ['copy', '--to', cache, path], options);
  return { nix, path, cache };
}

/** Whether the Nix, without the path, gets it back from `url`. */
async function getsBack({ nix, path }: Made, url: string): Promise<boolean> {
  const options = { env: nix.env, extendEnv: false, reject: false } as const;
  expect((await execa('nix-store', ['--delete', path], options)).exitCode).toBe(0);
  await rm(join(nix.dir, 'home/cache'), { recursive: true, force: true });
  const got = await execa('nix-store', ['--realise', path, '--option', 'substituters', url], options);
  return got.exitCode === 0;
}

const versions = [NIX_VERSIONS[0], NIX_VERSIONS.at(-1)].filter((version) => version !== undefined);
describe.each(versions)('$name', (version) => {
  let [mine, usual]: (Made | undefined)[] = [];
  beforeAll(async () => {
    requireNix(version);
    [mine, usual] = [await make('own-store-dir', version.bin), await make('rooted', version.bin)];
  });
  afterAll(() => Promise.all([mine, usual].map((made) => made?.nix.cleanup())));

  it('substitutes from an upstream for its store through a serve that has nothing of its own', async () => {
    if (mine === undefined) throw new Error('there is none');
    const { nix, cache, path } = mine;
    expect(await getsBack(mine, cache)).toBe(true);
    const from = `oci:${join(nix.dir, 'empty')}`;
    await using server = await startServe(['--from', from, '--upstream', cache], nix);
    expect(await getsBack(mine, server.url)).toBe(true);
    expect((await execa('nix-store', ['--query', '--hash', path], { env: nix.env, extendEnv: false })).exitCode).toBe(
      0,
    );
    const { stderr } = await server.stop();
    expect(stderr).not.toMatch(/corrupt|is not served|nothing is taken/);
  });

  it('an upstream for another store is refused by name, by serve and by copy', async () => {
    if (mine === undefined || usual === undefined) throw new Error('there is none');
    const { nix } = usual;
    const own = `oci:${join(nix.dir, 'own')}`;
    const copied = await nixcache(['copy', usual.cache, own], { env: nix.env, cwd: nix.dir });
    expect(copied).toMatchObject({ exitCode: 0 });
    await using server = await startServe(['--from', own, '--upstream', mine.cache], nix);
    const reason = `it is for the store ${mine.nix.storeDir}, and this cache for /nix/store`;
    await server.said(`${mine.cache}: ${reason}`);
    const status = await (await fetch(`${server.url}/_status`)).json();
    expect(status).toMatchObject({ storeDir: '/nix/store', upstreams: [{ refused: reason }] });
    expect(await getsBack(usual, server.url)).toBe(true);
    const { stderr } = await server.stop();
    expect(stderr).not.toContain('corrupt');

    const refused = await nixcache(['copy', mine.cache, own], { env: nix.env, cwd: nix.dir });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain(`is a cache for ${mine.nix.storeDir}`);
    expect(refused.stderr).toContain('copy to another cache');
  });

  it('a cache for another store is refused by publish and push before anything is evaluated or built', async () => {
    if (mine === undefined || usual === undefined) throw new Error('there is none');
    const to = `oci:${join(usual.nix.dir, 'of-usual')}`;
    expect(await nixcache(['copy', usual.cache, to], { env: usual.nix.env })).toMatchObject({ exitCode: 0 });
    const { env, dir, storeDir } = mine.nix;
    await writeFile(join(dir, 'flake.nix'), '{ outputs = _: throw "it was evaluated"; }');
    const commands = [
      ['publish', dir],
      ['publish', dir, '--dry-run'],
      ['push', mine.path],
      ['push', '/elsewhere/x'],
    ];
    for (const command of commands) {
      const refused = await nixcache([...command, '--to', to, '--no-upstream'], { env, cwd: dir });
      expect(refused.exitCode).toBe(2);
      expect(refused.stderr).toContain(`is a cache for /nix/store, this Nix store is ${storeDir}`);
      expect(refused.stderr).not.toMatch(/it was evaluated|closure|signing key/);
    }
  });
});

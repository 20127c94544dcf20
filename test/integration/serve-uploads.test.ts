/** `nix copy --to http://…`: each Nix puts what it has into a cache through `serve`, and fresh stores take it out again. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, startLayouts } from '../support/e2e-caches.ts';
import { nixcache, type Serving, startServe } from '../support/e2e-cli.ts';
import { lines, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const TOKEN = '6f1ed002ab5595859014ebf0951522d9';
const FEATURES = ['experimental-features = nix-command flakes ca-derivations'];
const ours = generateKey('serve-1');
const theirs = generateKey('builder-1');

const PACKAGES = `let
  ca = name: script: derivation {
    inherit name; __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
    system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-euc" script ]; PATH = "/usr/bin:/bin";
  };
in rec {
  base = run "base" "mkdir -p $out/share; echo base > $out/share/text; ln -s text $out/share/link";
  twin = run "twin" "mkdir -p $out/share; echo base > $out/share/text; ln -s text $out/share/link";
  large = run "large" "head -c 3000000 /dev/urandom > $out";
  above = run "above" "echo \${base} \${twin} \${large} $out > $out";
  floating = ca "floating" "echo \${base} > $out";
}`;

interface Status {
  readonly uploads: { readonly pending: number; readonly troubles: readonly unknown[] };
}
const stateOf = async (url: string): Promise<Status> => (await fetch(`${url}/_status`)).json() as Promise<Status>;

/** Waits until all that was uploaded to `server` is in its cache. */
async function committed({ url }: Serving): Promise<void> {
  while ((await stateOf(url)).uploads.pending > 0) await delay(50);
}

describe.each(NIX_VERSIONS)('$name', ({ bin, name }) => {
  let nix: NixEnv;
  let host: CacheHost;
  let cache: string;
  let paths: Readonly<Record<string, string>>;
  let closure: readonly string[];
  let args: readonly string[];
  const login = (url: string): string => url.replace('//', `//ci:${TOKEN}@`);

  beforeAll(async () => {
    requireNix({ bin, name });
    nix = await createNixEnv({ bin, config: FEATURES });
    host = await startLayouts();
    cache = host.cache('uploads');
    const flake = await writeFlake(join(nix.dir, 'flake'), PACKAGES);
    const built = await Promise.all(
      ['base', 'above', 'floating'].map(async (each) => {
        const out = await runNix(nix, 'nix', 'build', '--no-link', '--json', `path:${flake}#${each}`);
        return [each, JSON.parse(out)[0].outputs.out] as const;
      }),
    );
    paths = Object.fromEntries(built);
    closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...Object.values(paths))).sort();
    await writeFile(join(nix.dir, 'tokens'), `${TOKEN}\n`, { mode: 0o600 });
    await writeFile(join(nix.dir, 'key'), ours.secret, { mode: 0o600 });
    await writeFile(join(nix.dir, 'their-key'), theirs.secret, { mode: 0o600 });
    args = [
      '--from',
      cache,
      '--no-upstream',
      '--upload-token-file',
      join(nix.dir, 'tokens'),
      '--key-file',
      join(nix.dir, 'key'),
    ];
  });
  afterAll(async () => {
    await nix?.cleanup();
    await host?.stop();
  });

  it('copies into the cache, from where others substitute', async () => {
    expect(closure).toHaveLength(5);
    await using server = await startServe(args, nix);
    await runNix(nix, 'nix', 'copy', '--to', login(server.url), ...Object.values(paths));
    // At once, out of the upload directory.
    expect(await substitute(server.url, [ours.public], Object.values(paths), { bin })).toEqual(closure);
    await committed(server);
    expect((await server.stop()).exitCode).toBe(0);

    await using another = await startServe(['--from', cache, '--no-upstream'], nix);
    expect(await substitute(another.url, [ours.public], Object.values(paths), { bin })).toEqual(closure);
    const verified = await nixcache(['verify', '--contents', '--cache', cache], nix);
    expect(verified).toMatchObject({ exitCode: 0 });
  });

  it('signs what is there, and copies what is new with listings', async () => {
    await using server = await startServe(args, nix);
    const store = login(server.url);
    const { above = '' } = paths;
    await runNix(nix, 'nix', 'store', 'sign', '--store', store, '--key-file', join(nix.dir, 'their-key'), above);
    const hash = above.slice('/nix/store/'.length).slice(0, 32);
    const narInfo = async (url: string): Promise<string> => (await fetch(`${url}/${hash}.narinfo`)).text();
    expect((await narInfo(server.url)).match(/^Sig: [^:]*/gm)).toEqual(['Sig: serve-1', 'Sig: builder-1']);
    const added = lines(await runNix(nix, 'nix-store', '--add', join(nix.dir, 'flake')))[0] ?? '';
    await runNix(nix, 'nix', 'copy', '--to', `${store}?write-nar-listing=1&compression=zstd`, added);
    const listing = async (url: string): Promise<unknown> =>
      (await fetch(`${url}/${added.slice('/nix/store/'.length).slice(0, 32)}.ls`)).json();
    expect(await listing(server.url)).toMatchObject({ root: { entries: { 'flake.nix': { type: 'regular' } } } });
    // Whatever is not committed by now is when the server stops.
    expect((await server.stop()).exitCode).toBe(0);
    await using another = await startServe(['--from', cache, '--no-upstream'], nix);
    expect((await narInfo(another.url)).match(/^Sig: [^:]*/gm)).toEqual(['Sig: serve-1', 'Sig: builder-1']);
    expect(await listing(another.url)).toMatchObject({ root: { entries: { 'flake.nix': { type: 'regular' } } } });
  });
});

/** Publish with one Nix, substitute with the same: every Nix that is supported, into a registry. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { type CacheHost, startRegistry } from '../support/e2e-caches.ts';
import { nixcache, startServe } from '../support/e2e-cli.ts';
import { copyExample, lines, readJson, runNix, storeContents, substitute } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const key = generateKey('versions-1');
let host: CacheHost;

beforeAll(async () => {
  host = await startRegistry();
});
afterAll(() => host.stop());

describe.each(NIX_VERSIONS)('$name', ({ bin, name }) => {
  let nix: NixEnv;

  beforeAll(async () => {
    requireNix({ bin, name });
    nix = await createNixEnv({ bin });
  });
  afterAll(() => nix.cleanup());

  it('publishes, and substitutes what it published', async () => {
    const cache = host.cache(name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-'));
    const flake = await copyExample(`${nix.dir}/flake`);
    const args = ['publish', flake, '--to', cache, '--no-upstream', '--json'];
    const options = { env: { ...nix.env, NIX_SIGNING_KEY: key.secret } };
    const first = await nixcache(args, options);
    expect(first).toMatchObject({ exitCode: 0 });
    const { pushed = [], outputs } = readJson(first.stdout);
    const paths = outputs.flatMap((output) => Object.values(output.outputs));
    const closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...paths)).sort();
    expect([...pushed].sort()).toEqual(closure);
    expect(closure.length).toBe(16);

    const builder = await createNixEnv({ bin });
    try {
      const again = await nixcache(args, { env: { ...builder.env, NIX_SIGNING_KEY: key.secret } });
      expect(readJson(again.stdout)).toMatchObject({ pushed: [] });
      expect((await storeContents(builder)).filter((path) => closure.includes(path))).toEqual([]);
    } finally {
      await builder.cleanup();
    }
    await using server = await startServe(['--from', cache, '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], paths, { bin })).toEqual(closure);
  });
});

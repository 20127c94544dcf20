/** Publishes that are killed at any instant, in both kinds of cache: what is there is whole, and the next one completes it. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { CACHE_KINDS, type CacheHost } from '../support/e2e-caches.ts';
import { nixcache, startFreshServe, startNixcache } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const key = generateKey('killed-1');
/** Enough work to be killed in: 24 MiB that do not compress, in paths that refer to each other. */
const PACKAGES = `rec {
  ${Array.from({ length: 12 }, (_each, i) => {
    const before = i === 0 ? '' : `\${p${i - 1}}`;
    return `p${i} = run "p${i}" "mkdir $out; head -c 2000000 /dev/urandom > $out/data; echo ${before} > $out/before";`;
  }).join('\n  ')}
}`;

/** After it has begun to push. */
const WAITS_MS = [0, 30, 80, 150, 250, 400];

describe.each(CACHE_KINDS)('a publish into $name', ({ start }) => {
  let host: CacheHost;
  let nix: NixEnv;
  let flake = '';
  let closure: string[];

  const args = (cache: string): readonly string[] => [
    ...['publish', flake, '--to', host.cache(cache), '--no-upstream', '--json'],
  ];
  const options = () => ({ env: { ...nix.env, NIX_SIGNING_KEY: key.secret } });

  beforeAll(async () => {
    [host, nix] = await Promise.all([start(), createNixEnv()]);
    flake = await writeFlake(join(nix.dir, 'flake'), PACKAGES);
    const { stdout, exitCode, stderr } = await nixcache(args('warm-up'), options());
    if (exitCode !== 0) throw new Error(stderr);
    const outputs = readJson(stdout).outputs.map((output) => output.outputs['out'] ?? '');
    closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...outputs)).sort();
  });
  afterAll(() => Promise.all([host.stop(), nix.cleanup()]));

  it('that is killed again and again loses nothing that was committed', async () => {
    const served = new Set<string>();
    let [killed, done] = [0, 0];
    const cache = (): string => `killed-${done}`;
    for (let runs = 0; runs < WAITS_MS.length || killed < 2; runs++) {
      await using running = startNixcache(args(cache()), options());
      await running.said('pushing');
      await delay(WAITS_MS[runs % WAITS_MS.length]);
      running.signal('SIGKILL');
      const isKilled = (await running.result).signal === 'SIGKILL';
      // What a reader sees now is whole: each entry with all it refers to, and with its bytes.
      await using server = await startFreshServe(['--from', host.cache(cache()), '--no-upstream'], nix);
      const found: string[] = [];
      for (const path of closure) {
        if ((await fetch(`${server.url}/${path.slice(11, 43)}.narinfo`)).ok) found.push(path);
      }
      expect(found).toEqual(expect.arrayContaining([...served]));
      for (const path of found) served.add(path);
      if (found.length > 0) expect(await substitute(server.url, [key.public], found)).toEqual(found);
      if (isKilled) killed += 1;
      else expect(found).toEqual(closure);
      // One that was done before has left nothing to do in this cache.
      if (!isKilled) [done] = [done + 1, served.clear()];
    }

    const clean = await nixcache(args(cache()), options());
    expect(clean.exitCode).toBe(0);
    await using server = await startFreshServe(['--from', host.cache(cache()), '--no-upstream'], nix);
    expect(await substitute(server.url, [key.public], closure)).toEqual(closure);
  });
});

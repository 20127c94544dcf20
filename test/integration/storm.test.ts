/**
 * A storm: pushes, publishes, pins, copies and gcs of unequal retentions at once, real processes, half of them killed
 * somewhere. Whatever of them came to a good end is there afterwards, signed, and Nix takes it. Some work by clocks that are
 * weeks behind, so that what they leave is old: gcs drop it, and others come to rely on it.
 *
 * NIXCACHE_STORM_SECONDS says how long each storm blows at least, NIXCACHE_STORM_SEED what comes after what.
 */
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { Coin } from '../model/coin.ts';
import { CACHE_KINDS } from '../support/e2e-caches.ts';
import { nixcache, startFreshServe, startNixcache } from '../support/e2e-cli.ts';
import { lines, readJson, runNix, substitute, writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

const SECONDS = Number(process.env['NIXCACHE_STORM_SECONDS'] ?? 10);
const SEED = Number(process.env['NIXCACHE_STORM_SEED'] ?? randomInt(2 ** 31));
const AT_ONCE = 3;
/** A process is through in some seconds; who is to be killed gets less, mostly. */
const MAX_LIFE_MS = 2500;
const TIMEOUT_MS = (SECONDS + 300) * 1000;
const OLD_DAYS = [10, 20, 40];
const PACKAGES = 10;

const key = generateKey('storm-1');
const packages = `rec {
${Array.from({ length: PACKAGES }, (_, i) => `  p${i} = run "p-${i}" "head -c ${i % 3 ? 300 : 200_000} /dev/urandom > $out${i === 0 ? '' : `; echo \${p${i >> 1}} >> $out`}";`).join('\n')}
}`;

let nix: NixEnv;
let flake: string;
let clock: string;
let source: string;
/** Store paths of the packages, in order. */
let paths: readonly string[];

beforeAll(async () => {
  nix = await createNixEnv();
  flake = await writeFlake(join(nix.dir, 'flake'), packages);
  clock = join(nix.dir, 'clock.mjs');
  await writeFile(
    clock,
    `const behind = Number(process.env.STORM_DAYS_BEHIND) * 86400000;
     const Real = globalThis.Date;
     globalThis.Date = class extends Real {
       constructor(...given) { if (given.length === 0) super(Real.now() - behind); else super(...given); }
       static now() { return Real.now() - behind; }
     };`,
  );
  source = `oci:${join(nix.dir, 'source')}`;
  const built = await nixcache(['publish', flake, '--to', source, '--no-upstream', '--json'], { env: envOf(true) });
  const { outputs } = readJson(built.stdout);
  paths = Array.from({ length: PACKAGES }, (_, i) => {
    const output = outputs.find(({ attrPath }) => attrPath.endsWith(`.p${i}`));
    return output?.outputs['out'] ?? '';
  });
}, TIMEOUT_MS);
afterAll(() => nix.cleanup());

const envOf = (isSigned: boolean, daysBehind = 0): Record<string, string> => ({
  ...nix.env,
  ...(isSigned ? { NIX_SIGNING_KEY: key.secret } : {}),
  ...(daysBehind > 0 ? { NODE_OPTIONS: `--import=${clock}`, STORM_DAYS_BEHIND: String(daysBehind) } : {}),
});

interface Deed {
  readonly args: readonly string[];
  readonly env: Record<string, string>;
  /** What is owed once it has come to a good end. */
  readonly owes: readonly string[];
}

function nextDeed(coin: Coin, cache: string): Deed {
  const number = coin.next(PACKAGES);
  const path = paths[number] ?? '';
  const to = ['--to', cache, '--no-upstream'];
  const retain = coin.falls(0.5) ? '7d' : '30d';
  const signed = { env: envOf(true), owes: [path] };
  const old = { env: envOf(coin.falls(0.5), OLD_DAYS[coin.next(OLD_DAYS.length)]), owes: [] };
  switch (coin.next(8)) {
    case 0:
    case 1:
      return { ...signed, args: ['push', path, ...to] };
    case 2:
      return { ...signed, args: ['publish', flake, '--only', `packages.*.p${number}`, ...to] };
    case 3:
      return { ...signed, args: ['pin', `pin-${coin.next(3)}`, path, '--cache', cache], env: envOf(false), owes: [] };
    case 4:
      return { ...signed, args: ['copy', source, cache, path] };
    case 5:
    case 6:
      return { env: envOf(false), args: ['gc', '--cache', cache, '--retain', retain, '--grace', '1h'], owes: [] };
    default:
      return { ...old, args: ['push', path, ...to] };
  }
}

it.each(CACHE_KINDS)(
  'in $name leaves all that came to a good end',
  async ({ name, start }) => {
    const host = await start();
    try {
      const cache = host.cache('storm');
      for (const daysBehind of OLD_DAYS) {
        const made = await nixcache(['push', ...paths, '--to', cache, '--no-upstream'], {
          env: envOf(false, daysBehind),
        });
        expect(made.exitCode, made.stderr).toBe(0);
      }
      const coin = new Coin(SEED);
      const owed = new Set<string>();
      const counts = new Map<string, number>();
      const count = (what: string): unknown => counts.set(what, (counts.get(what) ?? 0) + 1);
      const end = Date.now() + SECONDS * 1000;
      const work = async (): Promise<void> => {
        // However slow the machine is: until there is something to look for.
        while (Date.now() < end || owed.size === 0) {
          const { args, env, owes } = nextDeed(coin, cache);
          const lifeMs = coin.falls(0.5) ? coin.next(MAX_LIFE_MS) : undefined;
          await using running = startNixcache(args, { env });
          const ended = new AbortController();
          if (lifeMs !== undefined) {
            void delay(lifeMs, undefined, { signal: ended.signal }).then(
              () => running.signal('SIGKILL'),
              () => undefined,
            );
          }
          const { exitCode, signal } = await running.result;
          ended.abort();
          if (exitCode === 0) for (const path of owes) owed.add(path);
          count(`${args[0]} ${signal === 'SIGKILL' ? 'killed' : exitCode === 0 ? 'done' : `exit ${exitCode}`}`);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      process.stderr.write(
        `storm in ${name}, NIXCACHE_STORM_SEED=${SEED}: ${JSON.stringify(Object.fromEntries([...counts].sort()))}\n`,
      );

      const gc = await nixcache(['gc', '--cache', cache, '--retain', '7d', '--grace', '1h'], { env: envOf(false) });
      expect(gc.exitCode, gc.stderr).toBe(0);
      const verified = await nixcache(['verify', '--cache', cache, '--no-upstream', '--contents'], {
        env: envOf(false),
      });
      expect(verified.exitCode, verified.stdout).toBe(0);
      const wanted = [...owed].sort();
      await using server = await startFreshServe(['--from', cache, '--no-upstream'], nix);
      const closure = lines(await runNix(nix, 'nix-store', '--query', '--requisites', ...wanted)).sort();
      expect(await substitute(server.url, [key.public], wanted)).toEqual(closure);
    } finally {
      await host.stop();
    }
  },
  TIMEOUT_MS,
);

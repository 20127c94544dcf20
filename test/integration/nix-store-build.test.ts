/** Building, the local store's answers and the example flake, by each real Nix. */
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashToHex } from '../../src/nix/hash.ts';
import { baseNameOf, parseStorePath, type StorePath } from '../../src/nix/store-path.ts';
import { type BuildReport, build } from '../../src/nix-store/build.ts';
import type { BuildTarget } from '../../src/nix-store/build-failure.ts';
import type { BuildEvent } from '../../src/nix-store/build-log.ts';
import { type Discovery, discover } from '../../src/nix-store/discover.ts';
import type { FlakeOutput } from '../../src/nix-store/flake-output.ts';
import { type LocalStore, openLocalStore } from '../../src/nix-store/local-store.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { createNixClient, createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const SYSTEM = 'x86_64-linux';
const CONFIG = `path:${resolve(import.meta.dirname, '../../config')}`;
const GOLDEN = resolve(import.meta.dirname, '../nix-store/golden');
const MISSING = parseStorePath('/nix/store/00000000000000000000000000000000-missing');

const DERIVATIONS = `let
  make = name: script: attributes: derivation ({
    inherit name; system = "${SYSTEM}"; builder = "/bin/sh";
    args = [ "-c" ("PATH=/usr/bin:/bin; echo building $name; " + script) ];
  } // attributes);
  bad = make "bad" "echo oh no; exit 3" { };
  foreign = make "foreign" "echo > $out" { system = "riscv64-linux"; };
in {
  good = make "good" "sleep 0.3; echo $dev > $out; echo > $dev" { outputs = [ "out" "dev" ]; };
  other = make "other" "echo > $out" { };
  inherit bad foreign;
  needsBad = make "needs-bad" "cat \${make "middle" "cat \${bad} > $out" { }} > $out" { };
  needsForeign = make "needs-foreign" "cat \${foreign} > $out" { };
  featureless = make "featureless" "echo > $out" { requiredSystemFeatures = [ "nonesuch" ]; };
}`;

describe.each(NIX_VERSIONS)('building by $name', (nix) => {
  let nixEnv: NixEnv;
  let command: NixCommand;
  let store: LocalStore;

  beforeAll(async () => {
    requireNix(nix);
    nixEnv = await createNixEnv({ bin: nix.bin });
    command = new NixCommand({ env: nixEnv.env });
    store = await openLocalStore({ command });
  });
  afterAll(() => nixEnv?.cleanup());

  const run = (program: string, ...args: readonly string[]): string =>
    execFileSync(program, args, { env: nixEnv.env, cwd: nixEnv.dir, encoding: 'utf8', stdio: 'pipe' }).trim();

  /** Path, hash, size, deriver and sorted references of each of `paths`, as `nix-store --dump-db` tells them. */
  const dumpDb = (paths: readonly StorePath[]): readonly (readonly string[])[] => {
    const lines = run('nix-store', '--dump-db', ...paths).split('\n');
    const rows: (readonly string[])[] = [];
    while (lines.length > 0) {
      const [path = '', hash = '', size = '', deriver = '', count = '0'] = lines.splice(0, 5);
      rows.push([path, hash, size, deriver, ...lines.splice(0, Number(count)).sort()]);
    }
    return rows.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  };

  describe('what partly fails', () => {
    const targets = new Map<string, BuildTarget>();
    const events: BuildEvent[] = [];
    let report: BuildReport;

    beforeAll(async () => {
      writeFileSync(join(nixEnv.dir, 'derivations.nix'), DERIVATIONS);
      for (const line of run('nix-instantiate', 'derivations.nix').split('\n')) {
        const drvPath = parseStorePath(line.replace(/!.*/, ''));
        const outputs = run('nix-store', '--query', '--outputs', drvPath).split('\n');
        const byName = Object.fromEntries(outputs.map((path) => [path, parseStorePath(path)]));
        targets.set(drvPath.replace(/.{11}.{33}(.*)\.drv/, '$1'), { drvPath, outputs: byName });
      }
      const rootsDir = join(nixEnv.dir, 'roots');
      report = await build([...targets.values()], { command, store, rootsDir, onEvent: (event) => events.push(event) });
    });

    const failureOf = (name: string) => report.failures.find(({ drvPath }) => drvPath === targets.get(name)?.drvPath);

    it('builds every output of all the others', () => {
      const names = report.built.map(({ drvPath }) => drvPath.replace(/.{11}.{33}(.*)\.drv/, '$1'));
      expect(names.toSorted()).toEqual(['good', 'other']);
      for (const { outputs } of report.built) {
        for (const path of Object.values(outputs)) expect(existsSync(store.contentPath(path))).toBe(true);
      }
    });

    it('tells whose builder failed, with the end of its log', () => {
      expect(failureOf('bad')).toMatchObject({ reason: 'failed', logTail: ['building bad', 'oh no'] });
      expect(failureOf('bad')?.error).toMatch(/exit code 3/);
    });

    it('tells what failed for something it needs, and shows the log of that', () => {
      const culprit = targets.get('bad')?.drvPath;
      expect(failureOf('needs-bad')).toMatchObject({
        reason: 'dependency',
        culprit,
        logTail: ['building bad', 'oh no'],
      });
    });

    it('tells what this machine cannot build', () => {
      expect(failureOf('foreign')).toMatchObject({ reason: 'unbuildable', error: expect.stringMatching(/riscv64/) });
      expect(failureOf('featureless')).toMatchObject({
        reason: 'unbuildable',
        error: expect.stringMatching(/nonesuch/),
      });
      expect(failureOf('needs-foreign')).toMatchObject({ reason: 'dependency' });
    });

    it('tells how it went while it went', () => {
      const good = targets.get('good')?.drvPath ?? '';
      expect(events).toContainEqual({ type: 'build-started', drvPath: good });
      expect(events).toContainEqual({ type: 'build-line', drvPath: good, line: 'building good' });
      expect(events).toContainEqual({ type: 'build-stopped', drvPath: good });
    });

    it('keeps what was built until it is released', async () => {
      const outputs = report.built.flatMap((target) => Object.values(target.outputs));
      run('nix-store', '--gc');
      expect((await store.queryValidPaths(outputs)).size).toBe(outputs.length);
      await report.release();
      run('nix-store', '--gc');
      expect((await store.queryValidPaths(outputs)).size).toBe(0);
    });
  });

  describe('the example flake', () => {
    let discovery: Discovery;
    let report: BuildReport<FlakeOutput>;

    beforeAll(async () => {
      discovery = await discover(CONFIG, { command, systems: [SYSTEM] });
      report = await build(discovery.outputs, { command, store, rootsDir: join(nixEnv.dir, 'example-roots') });
    });

    const outputsOf = (...names: readonly string[]): readonly StorePath[] =>
      discovery.outputs
        .filter(({ attrPath }) => names.length === 0 || names.includes(attrPath))
        .flatMap(({ outputs }) => Object.values(outputs));

    it('has packages, a host and a shell, and builds', () => {
      expect(discovery.failures).toEqual([]);
      expect(report.failures).toEqual([]);
      expect(new Set(report.built.map(({ kind }) => kind))).toEqual(
        new Set(['packages', 'nixosConfigurations', 'devShells']),
      );
    });

    it('is the same bytes whatever the Nix and the machine', async () => {
      const infos = await store.queryClosure(outputsOf('nixosConfigurations.lighthouse'));
      const text = infos.map(({ path, narHash }) => `${path} ${narHash}\n`).join('');
      expect(text).toBe(readFileSync(join(GOLDEN, 'lighthouse-closure.txt'), 'utf8'));
    });

    it('has programs that run, links, an empty file, self-references and something large', async () => {
      const closure = await store.queryClosure(outputsOf());
      expect(closure.length).toBeGreaterThanOrEqual(14);
      const find = (name: string): string => {
        const info = closure.find(({ path }) => path.endsWith(`-${name}`));
        return info === undefined ? name : store.contentPath(info.path);
      };
      expect(execFileSync(join(find('hello-1.0'), 'bin/hello'), { encoding: 'utf8' })).toBe(
        'Hello from a store path.\n',
      );
      expect(execFileSync(join(find('tee-1.0'), 'bin/tee'), { encoding: 'utf8', input: 'abc' })).toBe('abc');
      expect(execFileSync(join(find('countdown-1.0'), 'bin/countdown'), { encoding: 'utf8' })).toMatch(
        /^9\n8\n.*0\n$/s,
      );
      expect(lstatSync(join(find('small-world-1.0'), 'bin/hello')).isSymbolicLink()).toBe(true);
      expect(statSync(join(find('small-world-1.0'), 'share/small-world.stamp')).size).toBe(0);
      expect(readFileSync(join(find('primes-1.0'), 'share/primes/primes.txt'), 'utf8')).toMatch(
        /^2\n3\n5\n7\n11\n13\n/,
      );
      expect(Math.max(...closure.map(({ narSize }) => narSize))).toBeGreaterThan(1024 * 1024);
      expect(closure.filter(({ path, references }) => references.includes(baseNameOf(path))).length).toBeGreaterThan(0);
    });

    it('has the runtime closure that nix-store tells', async () => {
      const infos = await store.queryClosure(outputsOf());
      const requisites = run('nix-store', '--query', '--requisites', ...outputsOf()).split('\n');
      expect(infos.map(({ path }) => path)).toEqual([...new Set(requisites)].toSorted());
      expect(
        infos.map(({ path, narHash, narSize, deriver, references }) => {
          const lines = references.map((reference) => `/nix/store/${reference}`);
          const built = deriver === undefined ? '' : `/nix/store/${deriver}`;
          return [path, hashToHex(narHash), `${narSize}`, built, ...lines];
        }),
      ).toEqual(dumpDb(infos.map(({ path }) => path)));
    });

    it('has a build closure with the sources and the tools, and without derivations', async () => {
      const infos = await store.queryBuildClosure(discovery.outputs.map(({ drvPath }) => drvPath));
      const names = infos.map(({ path }) => path.slice(44));
      expect(names).toContain('bfc.awk');
      expect(names).toContain('say-1.0');
      expect(names.filter((name) => name.endsWith('.drv'))).toEqual([]);
    });

    it('tells infos of a derivation as a file', async () => {
      const drvPath = discovery.outputs[0]?.drvPath ?? MISSING;
      const infos = await store.queryPathInfos([drvPath]);
      expect(infos).toMatchObject([{ path: drvPath, ca: expect.stringMatching(/^text:/) }]);
      const closure = await store.queryClosure([drvPath]);
      expect(closure.map(({ path }) => path)).toEqual(
        run('nix-store', '--query', '--requisites', drvPath).split('\n').toSorted(),
      );
    });

    it('costs nothing to build again', async () => {
      const events: BuildEvent[] = [];
      const again = await build(discovery.outputs, { command, store, onEvent: (event) => events.push(event) });
      await again.release();
      expect(again.built).toHaveLength(discovery.outputs.length);
      expect(events.filter(({ type }) => type === 'build-started')).toEqual([]);
    });

    it('is fetched where a trusted cache has it, and built where none has', async () => {
      const keys = { secret: join(nixEnv.dir, 'secret'), public: join(nixEnv.dir, 'public') };
      run('nix-store', '--generate-binary-cache-key', 'cache-1', keys.secret, keys.public);
      const url = `file://${nixEnv.dir}/cache`;
      const hello = discovery.outputs.filter(({ attrPath }) => attrPath === `packages.${SYSTEM}.hello`);
      const features = ['--extra-experimental-features', 'nix-command'];
      run(
        'nix',
        ...features,
        'copy',
        '--to',
        `${url}?secret-key=${keys.secret}`,
        ...outputsOf(`packages.${SYSTEM}.hello`),
      );

      for (const publicKeys of [[readFileSync(keys.public, 'utf8').trim()], []]) {
        const client = await createNixClient({ bin: nix.bin, substituters: [] });
        try {
          const clientCommand = new NixCommand({ env: client.env });
          const clientStore = await openLocalStore({ command: clientCommand });
          await discover(CONFIG, { command: clientCommand, only: ['packages.*.hello'] });
          const events: BuildEvent[] = [];
          const fetched = await build(hello, {
            ...{ command: clientCommand, store: clientStore, substituters: [{ url, publicKeys }] },
            onEvent: (event) => events.push(event),
          });
          await fetched.release();
          expect(fetched.failures).toEqual([]);
          const builds = events.filter(({ type }) => type === 'build-started').length;
          if (publicKeys.length > 0) expect(builds).toBe(0);
          else expect(builds).toBeGreaterThan(0);
        } finally {
          await client.cleanup();
        }
      }
    });
  });

  it('names a path that is not there, and says what to do', async () => {
    const notFound = { code: 'ERR_NOT_FOUND', message: expect.stringMatching(/0-missing.*build or fetch it/) };
    await expect(store.queryClosure([MISSING])).rejects.toMatchObject(notFound);
    await expect(store.queryBuildClosure([MISSING])).rejects.toMatchObject(notFound);
    expect(await store.queryPathInfos([MISSING])).toEqual([]);
    expect(await store.queryValidPaths([MISSING])).toEqual(new Set());
    expect(await store.queryClosure([])).toEqual([]);
  });

  it('finds the bytes below the root of the store', () => {
    expect(store.storeDir).toBe('/nix/store');
    expect(store.contentPath(MISSING)).toBe(join(nixEnv.realStoreDir, baseNameOf(MISSING)));
    expect(readdirSync(nixEnv.realStoreDir).length).toBeGreaterThan(0);
  });

  it('builds in a store directory of its own as well', async () => {
    const own = await createNixEnv({ bin: nix.bin, shape: 'own-store-dir' });
    try {
      const ownCommand = new NixCommand({ env: own.env });
      const ownStore = await openLocalStore({ command: ownCommand });
      const { outputs } = await discover(CONFIG, { command: ownCommand, only: ['packages.*.hello'] });
      const report = await build(outputs, { command: ownCommand, store: ownStore });
      const [info] = await ownStore.queryClosure(outputs.flatMap((output) => Object.values(output.outputs)));
      await report.release();
      expect(info?.path.startsWith(`${own.storeDir}/`)).toBe(true);
      expect(existsSync(ownStore.contentPath(info?.path ?? MISSING))).toBe(true);
    } finally {
      await own.cleanup();
    }
  });

  it('stops a build when asked to', async () => {
    const name = join(nixEnv.dir, 'slow.nix');
    writeFileSync(
      name,
      `derivation { name = "slow"; system = "${SYSTEM}"; builder = "/bin/sh"; args = [ "-c" "/usr/bin/sleep 60" ]; }`,
    );
    const drvPath = parseStorePath(run('nix-instantiate', name).replace(/!.*/, ''));
    const outputs = { out: parseStorePath(run('nix-store', '--query', '--outputs', drvPath)) };
    const controller = new AbortController();
    const rootsDir = join(nixEnv.dir, 'slow-roots');
    const onEvent = ({ type }: BuildEvent): void => {
      if (type === 'build-started') controller.abort();
    };
    const building = build([{ drvPath, outputs }], { command, store, rootsDir, onEvent, signal: controller.signal });
    await expect(building).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(existsSync(rootsDir)).toBe(false);
  });
});

/** The command line against a real Nix, an image layout, and docker-registry's files on disk. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import type { Finding } from '../../src/verify/finding.ts';
import { type CliResult, runCli, startCli } from '../cli/run-cli.ts';
import { noise } from '../support/bytes.ts';
import { createNixClient, createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { RealRegistry } from '../support/real-registry.ts';

const key = generateKey('test-1');
let nix: NixEnv;
let large = '';
let small = '';

const add = async (name: string, contents: Buffer | string): Promise<string> => {
  await writeFile(join(nix.dir, name), contents);
  const { stdout } = await execa('nix-store', ['--add', join(nix.dir, name)], { env: nix.env, extendEnv: false });
  return stdout;
};

beforeAll(async () => {
  nix = await createNixEnv();
  large = await add('large', noise(300_000, 'large'));
  small = await add('small', 'small');
});
afterAll(() => nix.cleanup());

/** Each runs the command line several times, and a Nix. */
const TIMEOUT_MS = 180_000;

const nixcache = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CliResult> =>
  runCli(args, { cwd: nix.dir, env: { ...nix.env, ...env } });

const push = async (reference: string, ...paths: readonly string[]): Promise<void> => {
  const result = await nixcache(['push', ...paths, '--to', reference, '--no-upstream'], {
    NIX_SIGNING_KEY: key.secret,
  });
  expect(result).toMatchObject({ exitCode: 0 });
};

interface Verified {
  readonly clean: boolean;
  readonly findings: readonly Finding[];
  readonly repair?: { readonly pushed: readonly string[]; readonly dropped: readonly { readonly path: string }[] };
}
const verify = async (
  reference: string,
  ...flags: readonly string[]
): Promise<CliResult & { readonly report: Verified }> => {
  const result = await nixcache(['verify', '--from', reference, '--no-upstream', '--json', ...flags]);
  return { ...result, report: JSON.parse(result.stdout === '' ? '{}' : result.stdout) as Verified };
};

/** Files below `directory` that hold at least `bytes`. */
async function filesOf(directory: string, bytes: number): Promise<string[]> {
  const names = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = names.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name));
  const sizes = await Promise.all(files.map(async (file) => (await readFile(file)).length));
  return files.filter((_, i) => (sizes[i] ?? 0) >= bytes);
}

describe('verify on an image layout', { timeout: TIMEOUT_MS }, () => {
  const cache = (name: string): string => `oci:${join(nix.dir, name)}`;

  it('exits with 0 when all is well, and says so', async () => {
    await push(cache('clean'), large, small);
    const { exitCode, stdout, stderr } = await nixcache([
      'verify',
      '--from',
      cache('clean'),
      '--no-upstream',
      '--contents',
    ]);
    expect([exitCode, stdout]).toEqual([0, '']);
    expect(stderr).toMatch(
      /^verified oci:.*: 2 entries in 1 segment, 2 NARs \(.*\) read; everything is as it should be$/m,
    );
  });

  it('exits with 4 when something is lost, heals it from the local store, and Nix takes it', async () => {
    await push(cache('lossy'), large, small);
    const [blob = ''] = await filesOf(join(nix.dir, 'lossy/blobs'), 250_000);
    await rm(blob);
    const human = await nixcache(['verify', '--from', cache('lossy'), '--no-upstream']);
    expect(human.exitCode).toBe(4);
    expect(human.stdout).toMatch(
      /^damage: blob-missing \(1\)\n {2}blob sha256:.* in it lie \/nix\/store\/.*-large\n {2}-> /,
    );
    const would = await verify(cache('lossy'), '--repair', '--dry-run');
    expect(would).toMatchObject({ exitCode: 4, report: { repair: { plan: { push: [large], drop: [] } } } });
    const healed = await verify(cache('lossy'), '--repair');
    expect(healed).toMatchObject({ exitCode: 0, report: { clean: true, repair: { pushed: [large], dropped: [] } } });
    expect(await verify(cache('lossy'), '--contents')).toMatchObject({ exitCode: 0, report: { findings: [] } });
    await expectSubstituted(cache('lossy'), large);
  });

  it('finds another byte only when it reads, and heals it too', async () => {
    await push(cache('flipped'), large, small);
    const [blob = ''] = await filesOf(join(nix.dir, 'flipped/blobs'), 250_000);
    const bytes = await readFile(blob);
    await writeFile(blob, bytes.fill(0, 1000, 1100));
    expect(await verify(cache('flipped'))).toMatchObject({ exitCode: 0 });
    const read = await verify(cache('flipped'), '--contents');
    expect(read.exitCode).toBe(4);
    expect(read.report.findings).toMatchObject([{ kind: 'nar-corrupt', what: large }]);
    expect(await verify(cache('flipped'), '--contents', '--repair')).toMatchObject({ exitCode: 0 });
    await expectSubstituted(cache('flipped'), large);
  });

  it('drops what the local store does not have either', async () => {
    await push(cache('dropped'), large, small);
    const [blob = ''] = await filesOf(join(nix.dir, 'dropped/blobs'), 250_000);
    await rm(blob);
    const other = await createNixEnv();
    onTestFinished(() => other.cleanup());
    const args = ['verify', '--cache', cache('dropped'), '--no-upstream', '--repair'];
    const result = await runCli(args, { cwd: nix.dir, env: other.env });
    expect(result).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining(`dropped ${large}: its bytes are lost`),
    });
    expect(await verify(cache('dropped'), '--contents')).toMatchObject({ exitCode: 0, report: { findings: [] } });
  });

  it('exits with 1 when it cannot tell, and with 2 when it is asked for nonsense', async () => {
    await push(cache('unreadable'), small);
    await writeFile(join(nix.dir, 'unreadable/index.json'), '{');
    const unreadable = await nixcache(['verify', '--from', cache('unreadable'), '--no-upstream']);
    expect([unreadable.exitCode, unreadable.stdout]).toEqual([1, '']);
    const nonsense = await nixcache(['verify', '--from', cache('clean'), '--dry-run']);
    expect(nonsense).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('only with --repair') });
  });
});

describe('verify on docker-registry', { timeout: TIMEOUT_MS }, () => {
  it('finds files that are gone, cut short and altered on its disk, and heals them', async () => {
    const registry = await RealRegistry.start();
    onTestFinished(() => registry.stop());
    const reference = `${registry.host}/team/cache`;
    for (const damage of ['gone', 'cut short', 'altered'] as const) {
      const path = await add(`nar-${damage.replace(' ', '-')}`, noise(400_000, damage));
      await push(reference, path, small);
      expect(await verify(reference, '--contents')).toMatchObject({ exitCode: 0, report: { findings: [] } });
      const file = await blobOf(registry.directory, noise(400_000, damage));
      const bytes = await readFile(file);
      if (damage === 'gone') await rm(file);
      else await writeFile(file, damage === 'altered' ? bytes.fill(0, 1000, 1100) : bytes.subarray(0, 1000));
      const found = await verify(reference, '--contents');
      expect(found.exitCode).toBe(4);
      expect(JSON.stringify(found.report.findings)).toContain(path);
      expect(await verify(reference, '--contents', '--repair')).toMatchObject({
        exitCode: 0,
        report: { clean: true, repair: { pushed: [path], dropped: [] } },
      });
      await expectSubstituted(reference, path);
    }
  });

  it('heals a segment whose manifest file is gone', async () => {
    const registry = await RealRegistry.start();
    onTestFinished(() => registry.stop());
    const reference = `${registry.host}/team/cache`;
    await push(reference, large);
    await push(reference, small);
    const file = await fileWith(
      registry.directory,
      Buffer.from('"artifactType":"application/vnd.nixcache.segment.v1","config"'),
    );
    await rm(file);
    const found = await verify(reference);
    expect(found.exitCode).toBe(4);
    const healed = await verify(reference, '--repair');
    expect(healed.exitCode).toBe(0);
    expect(await verify(reference, '--contents')).toMatchObject({ exitCode: 0, report: { findings: [] } });
    for (const path of [large, small]) await expectSubstituted(reference, path);
  });
});

/** The file of docker-registry that holds `contents`, which do not compress. */
const blobOf = (directory: string, contents: Buffer): Promise<string> =>
  fileWith(directory, contents.subarray(2000, 2100));

async function fileWith(directory: string, bytes: Buffer): Promise<string> {
  for (const file of await filesOf(directory, bytes.length)) if ((await readFile(file)).includes(bytes)) return file;
  throw new Error('no file has it');
}

/** Fails unless a new Nix takes `path` from the cache, with its signature. */
async function expectSubstituted(reference: string, path: string): Promise<void> {
  await using server = await startCli(['serve', '--from', reference, '--port', '0', '--no-upstream'], { env: nix.env });
  // It starts with the index that the last one left, and asks the registry meanwhile.
  expect((await fetch(new URL('/_refresh', server.firstLine), { method: 'POST' })).status).toBe(200);
  const client = await createNixClient({ substituters: [server.firstLine], publicKeys: [key.public] });
  onTestFinished(() => client.cleanup());
  await execa('nix-store', ['--realise', path], { env: client.env, extendEnv: false });
  const { stdout } = await execa('nix-store', ['--check-validity', path], { env: client.env, extendEnv: false });
  expect(stdout).toBe('');
}

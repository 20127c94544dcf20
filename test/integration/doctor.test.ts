/** The doctor and pins with real parts: docker-registry, a private Nix, and our own proxy between them. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { type CliResult, runCli, startCli } from '../cli/run-cli.ts';
import { nobody } from '../oci/remote/open-repository.ts';
import { baseNameFor, CacheBuilder } from '../support/cache-builder.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { RealRegistry } from '../support/real-registry.ts';

let registry: RealRegistry;
let nix: NixEnv;
let http: HttpClient;

beforeAll(async () => {
  http = new HttpClient();
  registry = await RealRegistry.start();
  nix = await createNixEnv({ config: ['substituters = http://127.0.0.1:37999'] });
});

afterAll(async () => {
  await http.destroy();
  await registry.stop();
  await nix.cleanup();
});

const nixcache = (args: readonly string[], repository: string): Promise<CliResult> =>
  runCli(args, {
    cwd: nix.dir,
    env: { ...nix.env, NIXCACHE_CACHE: `${registry.host}/${repository}`, NIXCACHE_UPSTREAM: 'none' },
  });

const open = (repository: string): RemoteRepository =>
  new RemoteRepository({ host: registry.host, repository, http, credentials: nobody });

async function diagnose(repository: string, ...args: readonly string[]): Promise<Readonly<Record<string, Finding>>> {
  const { stdout } = await nixcache(['doctor', '--json', ...args], repository);
  const { findings } = JSON.parse(stdout) as { readonly findings: readonly Finding[] };
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

describe('doctor with docker-registry', () => {
  it('may read and write, and leaves nothing behind', async () => {
    const found = await diagnose('team/untouched');
    expect(found).toMatchObject({
      registry: { verdict: 'ok' },
      clock: { verdict: 'ok' },
      pull: { verdict: 'warning', message: expect.stringContaining('there is no team/untouched yet') },
      push: { verdict: 'ok' },
    });
    const files = await readdir(registry.directory, { recursive: true });
    expect(files.filter((file) => file.includes('untouched'))).toEqual([]);
  });

  it('finds a running proxy, and that Nix does not trust its key', async () => {
    await new CacheBuilder(open('team/cache')).publish({
      ...{ at: new Date(), paths: ['a'], roots: ['a'] },
      publicKeys: ['test-1:ZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY='],
    });
    const env = { ...nix.env, NIXCACHE_UPSTREAM: 'none' };
    const args = ['serve', '--from', `${registry.host}/team/cache`, '--port', '0'];
    await using proxy = await startCli(args, { cwd: nix.dir, env });
    const port = new URL(proxy.firstLine).port;
    expect(await diagnose('team/cache', '--port', port)).toMatchObject({
      nix: { verdict: 'ok' },
      pull: { verdict: 'ok' },
      public: { verdict: 'ok' },
      index: { verdict: 'ok', message: expect.stringContaining('1 entry in 1 segment') },
      proxy: { verdict: 'ok' },
      trust: { verdict: 'warning', message: expect.stringContaining('does not substitute') },
    });
    // The port that this Nix is configured for: nothing runs there, and it lacks the key.
    expect(await diagnose('team/cache', '--port', '37999')).toMatchObject({
      proxy: { verdict: 'problem' },
      trust: { verdict: 'problem', fix: expect.stringContaining('extra-trusted-public-keys = test-1:') },
    });
  });
});

describe('pin with docker-registry', () => {
  it('keeps a path through gc', async () => {
    const cache = new CacheBuilder(open('team/pins'));
    const old = new Date(Date.now() - 90 * 24 * 60 * 60 * 1000);
    await cache.publish({ at: old, paths: ['lib', { name: 'app', references: ['lib'] }, 'rest'] });
    await cache.publish({ at: new Date(), paths: ['new'], roots: ['new'] });
    expect(await nixcache(['pin', 'release', 'app'], 'team/pins')).toMatchObject({ exitCode: 0 });
    expect(await nixcache(['gc'], 'team/pins')).toMatchObject({ exitCode: 0 });
    const { stdout } = await nixcache(['list', '--entries', '--json'], 'team/pins');
    const paths = stdout.split('\n').map((line) => (JSON.parse(line) as { readonly path: string }).path.slice(11));
    expect(paths).toEqual(['app', 'lib', 'new'].map(baseNameFor));
    await cache.expectReadable(['app', 'lib', 'new']);
  });
});

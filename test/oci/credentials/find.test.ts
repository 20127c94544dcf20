import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { credentialsProvider } from '../../../src/oci/credentials/find.ts';
import { askCredentialHelper } from '../../../src/oci/credentials/helper.ts';
import type { Credentials } from '../../../src/oci/remote/credentials.ts';
import { tempDir } from '../../support/temp-dir.ts';

const basic = (username: string, password: string): Credentials => ({ type: 'basic', username, password });
const encoded = (pair: string): { auth: string } => ({ auth: Buffer.from(pair).toString('base64') });

/** A home directory with `files`, and the environment of someone who lives there. */
async function homeWith(files: Readonly<Record<string, unknown>>): Promise<Record<string, string>> {
  const home = await tempDir();
  for (const [name, content] of Object.entries(files)) {
    const path = join(home, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    if (typeof content === 'string' && content.startsWith('#!')) await chmod(path, 0o755);
  }
  return { HOME: home, PATH: `${join(home, 'bin')}:${process.env['PATH']}` };
}

const find = (env: Record<string, string>, host: string, repository = 'owner/repo/nix-cache') =>
  credentialsProvider({ env })({ host, repository });

describe('credentials', () => {
  it('are those the user gave, before any file', async () => {
    const env = await homeWith({ '.docker/config.json': { auths: { 'ghcr.io': encoded('file:secret') } } });
    const provider = credentialsProvider({ username: 'me', password: 'mine', env });
    expect(await provider({ host: 'ghcr.io', repository: 'a/b' })).toEqual(basic('me', 'mine'));
  });

  it("come from docker's config.json for exactly this host", async () => {
    const auths = { 'registry.example': encoded('a:1'), 'registry.example:5000': encoded('b:2:with colon') };
    const env = await homeWith({ '.docker/config.json': { auths } });
    expect(await find(env, 'registry.example')).toEqual(basic('a', '1'));
    expect(await find(env, 'registry.example:5000')).toEqual(basic('b', '2:with colon'));
    expect(await find(env, 'other.registry.example')).toBeUndefined();
    expect(await find(env, 'registry.example.evil')).toBeUndefined();
  });

  it.each([
    ...['https://registry.example', 'https://registry.example/v2/', 'registry.example', 'registry.example/'],
    ...['https://registry.example/', 'http://registry.example', 'registry.example/v1/', 'registry.example/v2'],
    ...['Registry.Example', 'HTTPS://registry.example/v1/', 'https://registry.example/any/path'],
  ])('are found under the key %s', async (key) => {
    const env = await homeWith({ '.docker/config.json': { auths: { [key]: encoded('a:1') } } });
    expect(await find(env, 'registry.example')).toEqual(basic('a', '1'));
  });

  it.each(['docker.io', 'index.docker.io', 'registry-1.docker.io'])('of Docker Hub are found for %s', async (host) => {
    const env = await homeWith({ '.docker/config.json': { auths: { 'https://index.docker.io/v1/': encoded('a:1') } } });
    expect(await find(env, host)).toEqual(basic('a', '1'));
  });

  it('for the longest namespace win in podman’s file', async () => {
    const auths = {
      'quay.io/owner/repo': encoded('repo:3'),
      'quay.io': encoded('host:1'),
      'quay.io/owner': encoded('owner:2'),
      'quay.io/own': encoded('wrong:4'),
    };
    const env = await homeWith({ '.config/containers/auth.json': { auths } });
    expect(await find(env, 'quay.io', 'owner/repo/nix-cache')).toEqual(basic('repo', '3'));
    expect(await find(env, 'quay.io', 'owner/other')).toEqual(basic('owner', '2'));
    expect(await find(env, 'quay.io', 'someone/else')).toEqual(basic('host', '1'));
  });

  it('come from REGISTRY_AUTH_FILE, then docker, then podman', async () => {
    const file = (who: string) => ({ auths: { 'quay.io': encoded(`${who}:x`) } });
    const env = await homeWith({
      'auth.json': file('first'),
      'docker/config.json': file('second'),
      'run/containers/auth.json': file('third'),
      '.config/containers/auth.json': file('fourth'),
    });
    const home = env['HOME'] ?? '';
    expect(await find(env, 'quay.io')).toEqual(basic('fourth', 'x'));
    const withRuntime = { ...env, XDG_RUNTIME_DIR: join(home, 'run') };
    expect(await find(withRuntime, 'quay.io')).toEqual(basic('third', 'x'));
    const withDocker = { ...withRuntime, DOCKER_CONFIG: join(home, 'docker') };
    expect(await find(withDocker, 'quay.io')).toEqual(basic('second', 'x'));
    const withFile = { ...withDocker, REGISTRY_AUTH_FILE: join(home, 'auth.json') };
    expect(await find(withFile, 'quay.io')).toEqual(basic('first', 'x'));
  });

  it.each(['quay.io/owner/', 'quay.io/owner'])('of the namespace %s are for nothing beside it', async (key) => {
    const env = await homeWith({ '.docker/config.json': { auths: { [key]: encoded('a:1') } } });
    expect(await find(env, 'quay.io', 'owner/repo')).toEqual(basic('a', '1'));
    expect(await find(env, 'quay.io', 'owner')).toEqual(basic('a', '1'));
    expect(await find(env, 'quay.io', 'owner2/repo')).toBeUndefined();
    expect(await find(env, 'quay.io:5000', 'owner/repo')).toBeUndefined();
  });

  it.each([
    ['null for an entry', { auths: { 'quay.io': null, 'quay.io/': encoded('a:1') } }],
    ['null for fields', { auths: { 'quay.io': { ...encoded('a:1'), identitytoken: null, registrytoken: null } } }],
    ['null for tables', { auths: { 'quay.io': encoded('a:1') }, credHelpers: null, credsStore: null }],
    ['null for a helper', { auths: { 'quay.io': encoded('a:1') }, credHelpers: { 'quay.io': null } }],
    [
      'no helper for this host',
      { auths: { 'quay.io': encoded('a:1') }, credHelpers: { 'quay.io': '' }, credsStore: 'absent' },
    ],
    ['an entry of nothing', { auths: { 'quay.io/owner': {}, 'quay.io': encoded('a:1') } }],
    ['a pair without padding', { auths: { 'quay.io': { auth: encoded('a:1').auth.replaceAll('=', '') } } }],
    ['a pair with a newline', { auths: { 'quay.io': { auth: `${encoded('a:1').auth}\n` } } }],
    ['a pair in two fields', { auths: { 'quay.io': { username: 'a', password: '1', auth: '' } } }],
    ['a byte order mark', `\uFEFF${JSON.stringify({ auths: { 'quay.io': encoded('a:1') } })}`],
  ])('are read from a file with %s', async (_, file) => {
    expect(await find(await homeWith({ '.docker/config.json': file }), 'quay.io')).toEqual(basic('a', '1'));
  });

  it('may be a token for the registry itself', async () => {
    const auths = { 'quay.io': { auth: '', registrytoken: 'bearer-me' } };
    const env = await homeWith({ '.docker/config.json': { auths } });
    expect(await find(env, 'quay.io')).toEqual({ type: 'registry-token', token: 'bearer-me' });
  });

  it('come from DOCKER_AUTH_CONFIG before any file', async () => {
    const env = await homeWith({
      '.docker/config.json': { auths: { 'quay.io': encoded('file:1'), 'x.io': encoded('x:2') } },
    });
    const given = { ...env, DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { 'quay.io': encoded('variable:1') } }) };
    expect(await find(given, 'quay.io')).toEqual(basic('variable', '1'));
    expect(await find(given, 'x.io')).toEqual(basic('x', '2'));
    await expect(find({ ...env, DOCKER_AUTH_CONFIG: 'c2VjcmV0' }, 'quay.io')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: 'read credentials from DOCKER_AUTH_CONFIG: not JSON',
    });
  });

  it('that are a password alone do for GHCR, and are an error elsewhere', async () => {
    const provider = credentialsProvider({ password: 'mine', env: await homeWith({}) });
    expect(await provider({ host: 'ghcr.io', repository: 'a/b' })).toMatchObject({ password: 'mine' });
    await expect(provider({ host: 'quay.io', repository: 'a/b' })).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(/quay\.io and no user name.*--username/),
    });
  });

  it('may be an identity token', async () => {
    const auths = { 'team.azurecr.io': { ...encoded('00000000:'), identitytoken: 'refresh-me' } };
    const env = await homeWith({ '.docker/config.json': { auths } });
    expect(await find(env, 'team.azurecr.io')).toEqual({ type: 'identity-token', token: 'refresh-me' });
  });

  it('of GitHub Actions go to registries of kind ghcr only, after all files', async () => {
    const env = { ...(await homeWith({})), GITHUB_TOKEN: 'ghs_1', GITHUB_ACTOR: 'octocat' };
    expect(await find(env, 'ghcr.io')).toEqual(basic('octocat', 'ghs_1'));
    expect(await find(env, 'quay.io')).toBeUndefined();
    expect(await find(env, 'ghcr.io.evil.example')).toBeUndefined();
    const ghe = credentialsProvider({ env, kind: 'ghcr' });
    expect(await ghe({ host: 'containers.ghe.example', repository: 'a/b' })).toEqual(basic('octocat', 'ghs_1'));
    const { GITHUB_ACTOR: _, ...anonymous } = env;
    expect(await find(anonymous, 'ghcr.io')).toEqual(basic('x-access-token', 'ghs_1'));
    const logged = await homeWith({ '.docker/config.json': { auths: { 'ghcr.io': encoded('file:secret') } } });
    expect(await find({ ...logged, GITHUB_TOKEN: 'ghs_1' }, 'ghcr.io')).toEqual(basic('file', 'secret'));
  });

  it('that cannot be read are an error without a piece of the file', async () => {
    const env = await homeWith({ '.docker/config.json': '{"auths": {"ghcr.io": {"auth": "c2VjcmV0' });
    await expect(find(env, 'ghcr.io')).rejects.toMatchObject({
      code: 'ERR_USAGE',
      message: expect.not.stringContaining('c2VjcmV0'),
    });
  });
});

describe('a credential helper', () => {
  const answering = (username: string, secret: string): string =>
    `#!/bin/sh\nread -r server || true\nprintf '{"ServerURL":"%s","Username":"${username}","Secret":"${secret} of %s"}' "$server" "$server"\n`;

  it('of a host is asked on its standard input, before the one for all', async () => {
    const env = await homeWith({
      '.docker/config.json': {
        credHelpers: { 'ghcr.io.example': 'absent', 'GHCR.io/': 'own' },
        credsStore: 'all',
      },
      'bin/docker-credential-own': answering('me', 'secret'),
      'bin/docker-credential-all': answering('you', 'token'),
    });
    expect(await find(env, 'ghcr.io')).toEqual(basic('me', 'secret of ghcr.io'));
    expect(await find(env, 'quay.io')).toEqual(basic('you', 'token of quay.io'));
    expect(await find(env, 'docker.io')).toEqual(basic('you', 'token of https://index.docker.io/v1/'));
  });

  it('gives an identity token under the user name <token>', async () => {
    const env = await homeWith({
      '.docker/config.json': { credsStore: 'all' },
      'bin/docker-credential-all': answering('<token>', 'refresh'),
    });
    expect(await find(env, 'x.azurecr.io')).toEqual({ type: 'identity-token', token: 'refresh of x.azurecr.io' });
  });

  it('that answers with nothing has nothing', async () => {
    const env = await homeWith({
      '.docker/config.json': { credsStore: 'all' },
      'bin/docker-credential-all': `#!/bin/sh\necho '{"ServerURL":"x","Username":"","Secret":""}'\n`,
    });
    expect(await find(env, 'quay.io')).toBeUndefined();
  });

  it('that knows nothing leaves it to the files', async () => {
    const env = await homeWith({
      '.docker/config.json': { credsStore: 'all', auths: { 'ghcr.io': encoded('a:1') } },
      'bin/docker-credential-all': '#!/bin/sh\necho "credentials not found in native keychain"\nexit 1\n',
    });
    expect(await find(env, 'ghcr.io')).toEqual(basic('a', '1'));
  });

  it.each([
    ['fails', '#!/bin/sh\necho "secret stuff"\nexit 3\n', /exit code 3/],
    ['answers nonsense', '#!/bin/sh\necho "secret stuff"\n', /not the JSON/],
  ])('that %s is an error that does not repeat what it printed', async (_, script, message) => {
    const env = await homeWith({ '.docker/config.json': { credsStore: 'all' }, 'bin/docker-credential-all': script });
    const error: unknown = await find(env, 'ghcr.io').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED', message: expect.stringMatching(message) });
    expect(String(error)).not.toContain('secret stuff');
  });

  it('that is not installed is named', async () => {
    const env = await homeWith({ '.docker/config.json': { credsStore: 'absent' } });
    await expect(find(env, 'ghcr.io')).rejects.toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      message: expect.stringContaining('docker-credential-absent'),
    });
  });

  it('that does not answer is killed once nobody waits any more', async () => {
    const env = await homeWith({
      '.docker/config.json': { credsStore: 'all' },
      'bin/docker-credential-all': `#!/bin/sh\ntrap '' TERM\necho $$ >"$HOME/pid"\nwhile :; do sleep 0.05; done\n`,
    });
    const controller = new AbortController();
    const finding = credentialsProvider({ env })({ host: 'ghcr.io', repository: 'a/b', signal: controller.signal });
    const pidFile = join(env['HOME'] ?? '', 'pid');
    await expect.poll(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8')).toMatch(/\d/);
    controller.abort(new Error('nobody waits'));
    await expect(finding).rejects.toThrow('nobody waits');
    const pid = Number(readFileSync(pidFile, 'utf8'));
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), 60_000);
  });

  it('that leaves a program behind which holds its output is done when it ends, and so is that program', async () => {
    const env = await homeWith({
      '.docker/config.json': { credsStore: 'all' },
      'bin/docker-credential-all': `#!/bin/sh\nsleep 1000 &\necho $! >"$HOME/pid"\necho '{"Username":"me","Secret":"secret"}'\n`,
    });
    expect(await find(env, 'ghcr.io')).toEqual(basic('me', 'secret'));
    const pid = Number(readFileSync(join(env['HOME'] ?? '', 'pid'), 'utf8'));
    await expect.poll(() => isOver(pid)).toBe(true);
  });

  it('that sleeps is told of, ended after its time with all that it started, and named', async () => {
    const env = await homeWith({
      'bin/docker-credential-all': `#!/bin/sh\nsleep 1000 &\necho $! >"$HOME/pid"\nwait\n`,
    });
    const pidFile = join(env['HOME'] ?? '', 'pid');
    // Where much is going on, its time may be over before it has started anything.
    for (let timeoutMs = 500; !existsSync(pidFile); timeoutMs *= 2) {
      const told: string[] = [];
      const asked = { env, timeoutMs, tellMs: 50, onWait: (message: string) => told.push(message) };
      await expect(askCredentialHelper('all', 'ghcr.io', asked)).rejects.toThrow(
        `ask docker-credential-all for the credentials of ghcr.io: no answer within ${timeoutMs / 1000} s`,
      );
      expect(told).toEqual(['waiting for docker-credential-all, which has not answered yet']);
    }
    const pid = Number(readFileSync(pidFile, 'utf8'));
    await expect.poll(() => isOver(pid)).toBe(true);
  });

  it('is a name, not a path', async () => {
    const env = await homeWith({ '.docker/config.json': { credsStore: '../../bin/sh' } });
    await expect(find(env, 'ghcr.io')).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
  });
});

/** Whether the process has ended; init may take its time to take note of that. */
function isOver(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

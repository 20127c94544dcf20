import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NixCommand } from '../src/nix-store/nix-command.ts';
import { findCredentials } from '../src/oci/credentials/find.ts';
import { tempDir } from './support/temp-dir.ts';

/** What a shell that starts sets by itself. */
const OF_THE_SHELL = new Set(['PWD', 'OLDPWD', 'SHLVL', '_']);

/** Someone's environment on a runner, with a secret in every variable that is known to hold one. */
const GIVEN = {
  ...{ LANG: 'C.UTF-8', HTTPS_PROXY: 'http://proxy:3128', SSL_CERT_FILE: '/etc/ssl/certs/ca.crt' },
  ...{ DBUS_SESSION_BUS_ADDRESS: 'unix:path=/run/bus', DISPLAY: ':0', CLOUDSDK_CONFIG: '/home/me/gcloud' },
  ...{
    NIX_PATH: 'nixpkgs=/x',
    NIX_CONFIG: 'access-tokens = github.com=ghp_1',
    NIX_SSL_CERT_FILE: '/etc/ssl/certs/nix.crt',
  },
  ...{ AWS_PROFILE: 'me', AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'secret', AWS_SESSION_TOKEN: 'secret' },
  ...{ AZURE_CLIENT_ID: 'me', AZURE_CLIENT_SECRET: 'secret', CLOUDSDK_AUTH_ACCESS_TOKEN: 'secret' },
  ...{ CI_JOB_TOKEN: 'secret', CI_REGISTRY_PASSWORD: 'secret', DOCKER_AUTH_CONFIG: '{}' },
  ...{ CACHIX_AUTH_TOKEN: 'secret', CACHIX_SIGNING_KEY: 'secret' },
  ...{ GITHUB_ACTOR: 'octocat', GITHUB_TOKEN: 'secret', GH_TOKEN: 'secret', ACTIONS_RUNTIME_TOKEN: 'secret' },
  ...{ ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret', GH_ENTERPRISE_TOKEN: 'secret', GITHUB_ENTERPRISE_TOKEN: 'secret' },
  ...{ NIXCACHE_UPSTREAM: 'https://me:secret@cache.example.org', NIXCACHE_LATER: 'secret' },
  ...{ NIXCACHE_PASSWORD: 'secret', NIXCACHE_SIGNING_KEY: 'secret', NIX_SIGNING_KEY: 'secret' },
};

const USUAL = [
  ...['HOME', 'PATH', 'LANG', 'HTTPS_PROXY', 'SSL_CERT_FILE', 'DBUS_SESSION_BUS_ADDRESS', 'DISPLAY'],
  ...['CLOUDSDK_CONFIG', 'NIX_PATH', 'NIX_SSL_CERT_FILE', 'GITHUB_ACTOR', 'AZURE_CLIENT_ID'],
  ...['AWS_PROFILE', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
];

/** A home with programs that write down the names of all variables that they are given. */
async function homeWith(programs: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const home = await tempDir();
  await mkdir(join(home, 'bin'));
  for (const [name, script] of Object.entries(programs)) {
    const path = join(home, 'bin', name);
    await writeFile(path, `#!/bin/sh\nenv > "$HOME/${name}.seen"\n${script}\n`);
    await chmod(path, 0o755);
  }
  return { ...GIVEN, HOME: home, PATH: `${join(home, 'bin')}:/usr/bin:/bin` };
}

async function namesSeenBy(program: string, { HOME = '' }: Record<string, string>): Promise<string[]> {
  const text = await readFile(join(HOME, `${program}.seen`), 'utf8');
  const names = text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/=.*/, ''));
  return names.filter((name) => !OF_THE_SHELL.has(name)).toSorted();
}

describe('no child is given a secret that it has no use for', () => {
  it('a credential helper: the user’s session and clouds, nothing of ours, of GitHub or of Nix', async () => {
    const answer = `echo '{"Username":"me","Secret":"x"}'`;
    const env = await homeWith({ 'docker-credential-own': answer });
    await mkdir(join(env['HOME'] ?? '', '.docker'));
    await writeFile(join(env['HOME'] ?? '', '.docker/config.json'), '{"credsStore":"own"}');
    await findCredentials({ host: 'ghcr.io', repository: 'a/b' }, { env });
    const clouds = ['AZURE_CLIENT_SECRET', 'CLOUDSDK_AUTH_ACCESS_TOKEN', 'CI_JOB_TOKEN', 'CI_REGISTRY_PASSWORD'];
    expect(await namesSeenBy('docker-credential-own', env)).toEqual([...USUAL, ...clouds].toSorted());
  });

  it.each(['nix', 'nix-store'] as const)('%s, and git below it: Nix’s own and what its hooks need', async (program) => {
    const env = await homeWith({ [program]: 'git', git: '' });
    await new NixCommand({ env }).run(program, ['--version']);
    const expected = [...USUAL, 'NIX_CONFIG', 'CACHIX_AUTH_TOKEN', 'CACHIX_SIGNING_KEY'].toSorted();
    expect(await namesSeenBy(program, env)).toEqual(expected);
    expect(await namesSeenBy('git', env)).toEqual(expected);
  });
});

/** Finds out who we are to a registry: where docker, podman and GitHub Actions leave it. */

import { join } from 'node:path';
import { type Environment, findHome, variable } from '../../environment.ts';
import { NixcacheError } from '../../errors.ts';
import type { Credentials, CredentialsProvider, CredentialsRequest } from '../remote/credentials.ts';
import { type RegistryKindName, registryKind } from '../remote/registry-kinds.ts';
import {
  authFor,
  canonicalHost,
  type DockerAuth,
  type DockerConfig,
  HUB_KEY,
  helperFor,
  parseDockerConfig,
  readDockerConfig,
} from './docker-config.ts';
import { askCredentialHelper, type HelperOptions } from './helper.ts';

export interface CredentialsOptions extends Pick<HelperOptions, 'onWait'> {
  /** What gave the password: a flag, a variable. */
  readonly passwordFrom?: string | undefined;
  /** Given by the user for this very registry; they come before everything else. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Overrides what the host name says. */
  readonly kind?: RegistryKindName | undefined;
  readonly env: Environment;
}

/** Credentials, and where they were found; never the secret itself. */
export interface FoundCredentials {
  readonly credentials: Credentials;
  /** `GITHUB_TOKEN`, or the path of a file. */
  readonly from: string;
}

/**
 * Looks in this order: the options; DOCKER_AUTH_CONFIG, which holds such a file; the file in REGISTRY_AUTH_FILE; docker's config.json
 * (helper for the host, helper for all, `auths`); podman's auth.json; GITHUB_TOKEN or GH_TOKEN on registries of kind ghcr.
 *
 * The provider throws ERR_USAGE for a malformed file and ERR_UNAUTHORIZED for a helper that fails.
 */
export const credentialsProvider =
  (options: CredentialsOptions): CredentialsProvider =>
  async (request) =>
    (await findCredentials(request, options))?.credentials;

/** As the provider finds them. @throws {NixcacheError} ERR_USAGE, ERR_UNAUTHORIZED */
export async function findCredentials(
  request: CredentialsRequest,
  options: CredentialsOptions,
): Promise<FoundCredentials | undefined> {
  const { username, password, env, onWait } = options;
  if (password !== undefined) {
    if (username === undefined && registryKind(request.host, options.kind).name !== 'ghcr') {
      throw new NixcacheError(
        'ERR_USAGE',
        `there is a password for ${request.host} and no user name: give --username NAME or set NIXCACHE_USERNAME`,
      );
    }
    const from = options.passwordFrom ?? 'the command line';
    return { credentials: { type: 'basic', username: username ?? 'nixcache', password }, from };
  }
  const inline = variable(env, 'DOCKER_AUTH_CONFIG');
  if (inline !== undefined) {
    const from = 'DOCKER_AUTH_CONFIG';
    const credentials = await credentialsIn(parseDockerConfig(inline, from), { ...request, env, onWait });
    if (credentials !== undefined) return { credentials, from };
  }
  for (const file of credentialFiles(env)) {
    const config = await readDockerConfig(file);
    const credentials = config && (await credentialsIn(config, { ...request, env, onWait }));
    if (credentials !== undefined) return { credentials, from: file };
  }
  return registryKind(request.host, options.kind).name === 'ghcr' ? githubToken(env) : undefined;
}

function credentialFiles(env: Environment): string[] {
  const home = findHome(env);
  const docker = env['DOCKER_CONFIG'] || (home && join(home, '.docker'));
  const config = env['XDG_CONFIG_HOME'] || (home && join(home, '.config'));
  const user = process.getuid?.();
  return [
    ...(env['REGISTRY_AUTH_FILE'] ? [env['REGISTRY_AUTH_FILE']] : []),
    ...(docker ? [join(docker, 'config.json')] : []),
    ...(env['XDG_RUNTIME_DIR'] ? [join(env['XDG_RUNTIME_DIR'], 'containers', 'auth.json')] : []),
    // Where podman and skopeo write to when there is no session (containers/image pkg/docker/config).
    ...(env['XDG_RUNTIME_DIR'] || user === undefined ? [] : [join('/run/containers', String(user), 'auth.json')]),
    ...(config ? [join(config, 'containers', 'auth.json')] : []),
  ];
}

async function credentialsIn(
  config: DockerConfig,
  request: CredentialsRequest & HelperOptions,
): Promise<Credentials | undefined> {
  const host = canonicalHost(request.host.toLowerCase());
  const helper = helperFor(config, host);
  if (helper !== undefined) {
    const found = await askCredentialHelper(helper, host === 'docker.io' ? HUB_KEY : host, request);
    if (found !== undefined) return found;
  }
  return credentialsOf(authFor(config, host, request.repository));
}

function credentialsOf(auth: DockerAuth | undefined): Credentials | undefined {
  if (auth?.registrytoken) return { type: 'registry-token', token: auth.registrytoken };
  if (auth?.identitytoken) return { type: 'identity-token', token: auth.identitytoken };
  const pair = auth?.auth
    ? Buffer.from(auth.auth, 'base64').toString('utf8')
    : `${auth?.username ?? ''}:${auth?.password ?? ''}`;
  const colon = pair.indexOf(':');
  // With a helper, `auths` holds an empty entry for each host: that is no password.
  if (colon < 1 || colon === pair.length - 1) return undefined;
  // docker pads the decoded pair with NUL in old files.
  return { type: 'basic', username: pair.slice(0, colon), password: pair.slice(colon + 1).replace(/\0+$/, '') };
}

/** The registry takes any user name with a token. */
function githubToken(env: Environment): FoundCredentials | undefined {
  const from = ['GITHUB_TOKEN', 'GH_TOKEN'].find((name) => env[name]);
  const password = from && env[from];
  if (!from || !password) return undefined;
  return { credentials: { type: 'basic', username: env['GITHUB_ACTOR'] || 'x-access-token', password }, from };
}

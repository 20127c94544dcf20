/** Docker's `config.json` and podman's `auth.json`: where other tools keep the credentials for registries. */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import { NixcacheError } from '../../errors.ts';
import { ioReason } from '../../io-error.ts';
import { readRegular } from '../../regular-file.ts';

/** Go, which wrote these files, takes null for nothing. */
const text = z.optional(z.nullable(z.string()));

const authSchema = z.object({ auth: text, username: text, password: text, identitytoken: text, registrytoken: text });

const configSchema = z.object({
  auths: z.optional(z.nullable(z.record(z.string(), z.nullable(authSchema)))),
  credHelpers: z.optional(z.nullable(z.record(z.string(), text))),
  credsStore: text,
});

export type DockerAuth = z.infer<typeof authSchema>;
export type DockerConfig = z.infer<typeof configSchema>;

/** 4 MiB: a few hundred bytes for each registry. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Undefined if there is no such file. @throws {NixcacheError} ERR_USAGE when it cannot be read or is malformed */
export async function readDockerConfig(path: string): Promise<DockerConfig | undefined> {
  let json: string;
  try {
    json = (await readRegular(path, { links: 'followed', maxBytes: MAX_BYTES })).toString('utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) {
      return undefined;
    }
    const remedy = 'make it readable, or set DOCKER_CONFIG or REGISTRY_AUTH_FILE to what is';
    throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: ${ioReason(cause)}; ${remedy}`, { cause });
  }
  return parseDockerConfig(json, path);
}

/** The helper that has the credentials for `host`: its own, which may be none, else the one for all hosts. */
export function helperFor(config: DockerConfig, host: string): string | undefined {
  const own = Object.entries(config.credHelpers ?? {}).find(([key]) => scopeOf(key).host === host);
  return (own === undefined ? config.credsStore : own[1]) || undefined;
}

/**
 * The entry for `host/repository`: the longest namespace that is a prefix of it (podman), or the host itself. One without
 * any credentials, as stands beside a helper, counts for nothing.
 */
export function authFor(config: DockerConfig, host: string, repository: string): DockerAuth | undefined {
  let best: DockerAuth | undefined;
  let bestLength = -1;
  for (const [key, auth] of Object.entries(config.auths ?? {})) {
    const scope = scopeOf(key);
    const matches = scope.host === host && `${repository}/`.startsWith(scope.namespace);
    if (auth && matches && scope.namespace.length > bestLength && Object.values(auth).some((value) => value)) {
      best = auth;
      bestLength = scope.namespace.length;
    }
  }
  return best;
}

/** Docker Hub's name in `auths`, which is also what its helpers are asked for. */
export const HUB_KEY = 'https://index.docker.io/v1/';

/** Docker Hub goes by three host names; in here by `docker.io`. */
export const canonicalHost = (host: string): string =>
  host.replace(/^(index|registry-1)\.docker\.io(?=$|\/)/, 'docker.io');

/**
 * What a key in `auths` or `credHelpers` is about: `host`, `host:port`, `host/name/space`, or as old clients of docker write
 * it, `https://host/v1/`, which is the host whatever the path. `namespace` ends in a slash unless it is empty.
 */
function scopeOf(key: string): { readonly host: string; readonly namespace: string } {
  const [, scheme, host = '', path = ''] = /^(https?:\/\/)?([^/]*)\/*(.*?)\/*$/i.exec(key) ?? [];
  const isHost = scheme !== undefined || path === '' || /^v[12]$/.test(path);
  return { host: canonicalHost(host.toLowerCase()), namespace: isHost ? '' : `${path}/` };
}

/** `path` is what messages name. @throws {NixcacheError} ERR_USAGE */
export function parseDockerConfig(json: string, path: string): DockerConfig {
  let value: unknown;
  try {
    // PowerShell puts a byte order mark first.
    value = parseBoundedJson(json.replace(/^\uFEFF/, ''));
  } catch {
    // Without the parser's message: it quotes what it read, and these are secrets.
    throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: not JSON`);
  }
  const parsed = configSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
  throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: '${where}' is not as docker writes it`);
}

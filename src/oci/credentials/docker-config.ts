/** Docker's `config.json` and podman's `auth.json`: where other tools keep the credentials for registries. */
import * as z from 'zod/mini';
import { messageOf, NixcacheError } from '../../errors.ts';
import { readRegular } from '../../regular-file.ts';

const authSchema = z.object({
  auth: z.optional(z.string()),
  username: z.optional(z.string()),
  password: z.optional(z.string()),
  identitytoken: z.optional(z.string()),
  registrytoken: z.optional(z.string()),
});

const configSchema = z.object({
  auths: z.optional(z.nullable(z.record(z.string(), authSchema))),
  credHelpers: z.optional(z.nullable(z.record(z.string(), z.string()))),
  credsStore: z.optional(z.nullable(z.string())),
});

export type DockerAuth = z.infer<typeof authSchema>;
export type DockerConfig = z.infer<typeof configSchema>;

/** 4 MiB: a few hundred bytes for each registry. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Undefined if there is no such file. @throws {NixcacheError} ERR_USAGE when it cannot be read or is malformed */
export async function readDockerConfig(path: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = (await readRegular(path, { links: 'followed', maxBytes: MAX_BYTES })).toString('utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) {
      return undefined;
    }
    throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: ${messageOf(cause)}`, { cause });
  }
  return parseDockerConfig(text, path);
}

/** The helper that has the credentials for `host`: its own, else the one for all hosts. */
export function helperFor(config: DockerConfig, host: string): string | undefined {
  const own = Object.entries(config.credHelpers ?? {}).find(([key]) => hostOfKey(key) === host)?.[1];
  return own ?? (config.credsStore || undefined);
}

/** The entry for `host/repository`: the longest namespace that is a prefix of it (podman), or the host itself. */
export function authFor(config: DockerConfig, host: string, repository: string): DockerAuth | undefined {
  let best: DockerAuth | undefined;
  let bestLength = -1;
  for (const [key, auth] of Object.entries(config.auths ?? {})) {
    const scope = /^https?:\/\//.test(key) ? hostOfKey(key) : canonicalHost(key);
    const matches =
      scope === host || `${host}/${repository}`.startsWith(`${scope}/`) || scope === `${host}/${repository}`;
    if (matches && scope.length > bestLength) {
      best = auth;
      bestLength = scope.length;
    }
  }
  return best;
}

/** Docker Hub's name in `auths`, which is also what its helpers are asked for. */
export const HUB_KEY = 'https://index.docker.io/v1/';

/** Docker Hub goes by three host names; in here by `docker.io`. */
export const canonicalHost = (host: string): string =>
  host.replace(/^(index|registry-1)\.docker\.io(?=$|\/)/, 'docker.io');

const hostOfKey = (key: string): string => canonicalHost(key.replace(/^https?:\/\//, '').replace(/\/.*$/, ''));

function parseDockerConfig(text: string, path: string): DockerConfig {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Without the parser's message: it quotes what it read, and these are secrets.
    throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: not JSON`);
  }
  const parsed = configSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
  throw new NixcacheError('ERR_USAGE', `read credentials from ${path}: '${where}' is not as docker writes it`);
}

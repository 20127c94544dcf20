/**
 * Where the local store's files are, from its URL (`store` setting, NIX_REMOTE) and the environment.
 *
 * The store directory is part of every path's name and hash; the real directory is where the bytes lie. They differ
 * for `local?root=/x` and plain `/x` (a store of /nix/store paths in /x/nix/store) and for `local?real=/y`.
 * Source: NixOS/nix src/libstore/{local-fs-store,store-api,globals}.cc.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findHome } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { DEFAULT_STORE_DIR } from '../nix/store-path.ts';

export interface StoreLocation {
  /** As it stands in store paths. */
  readonly storeDir: string;
  /** Directory that holds the store objects. */
  readonly realStoreDir: string;
}

export interface StoreSurroundings {
  readonly env: Readonly<NodeJS.ProcessEnv>;
  readonly cwd: string;
  /** Default: what we are. */
  readonly isRoot?: boolean;
  /** Default: what is on disk. */
  readonly exists?: (path: string) => boolean;
}

/** @throws {NixcacheError} ERR_USAGE when the store is not on a local disk */
export function locateStore(storeUrl: string, surroundings: StoreSurroundings): StoreLocation {
  const { env, cwd } = surroundings;
  const { scheme, path, params } = splitStoreUrl(storeUrl);
  const storeDir = params.get('store') ?? env['NIX_STORE_DIR'] ?? env['NIX_STORE'] ?? DEFAULT_STORE_DIR;
  const real = params.get('real');
  if (real !== null && real !== '') return { storeDir, realStoreDir: resolve(cwd, real) };
  const root = params.get('root') || rootOf(scheme, path, surroundings, params.size === 0);
  return { storeDir, realStoreDir: root === undefined ? storeDir : join(resolve(cwd, root), DEFAULT_STORE_DIR) };
}

function splitStoreUrl(url: string): { scheme: string; path: string; params: URLSearchParams } {
  const at = url.indexOf('?');
  const base = at < 0 ? url : url.slice(0, at);
  const params = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/.exec(base) ?? [];
  if (scheme !== undefined) return { scheme, path: rest ?? '', params };
  return /^(?:auto|daemon|local|)$/.test(base)
    ? { scheme: base === '' ? 'auto' : base, path: '', params }
    : { scheme: 'local', path: base, params };
}

/** The chroot store's root, or undefined for a store that lies where its paths say. */
function rootOf(scheme: string, path: string, around: StoreSurroundings, isPlain: boolean): string | undefined {
  switch (scheme) {
    case 'local':
    case 'local-overlay':
      return path === '' ? undefined : path;
    case 'daemon':
    case 'unix':
      return undefined;
    case 'auto':
      return isPlain ? homeRoot(around) : undefined;
    default:
      throw new NixcacheError(
        'ERR_USAGE',
        `the Nix store is ${scheme}://…, which is not on this machine's disks; unset NIX_REMOTE or the 'store' setting`,
      );
  }
}

/** Since 2.10, `auto` for a user on Linux without any Nix state is a chroot store at home. */
function homeRoot(surroundings: StoreSurroundings): string | undefined {
  const { env, isRoot = process.getuid?.() === 0, exists = existsSync } = surroundings;
  if (process.platform !== 'linux' || isRoot || exists('/nix/var/nix')) return undefined;
  if (env['NIX_STORE_DIR'] !== undefined || env['NIX_STATE_DIR'] !== undefined) return undefined;
  const home = findHome(env);
  const data = env['XDG_DATA_HOME'] ?? (home && join(home, '.local/share'));
  if (data === undefined) return undefined;
  const root = join(data, 'nix/root');
  return exists(root) ? root : undefined;
}

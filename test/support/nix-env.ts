/**
 * A private Nix for one test: store, state, configuration and caches below one temporary directory.
 *
 * Two shapes, because a store path names its store directory:
 *
 * - `rooted` (default): NIX_REMOTE=local?root=DIR/root. Paths read /nix/store/… as everywhere, the bytes lie in
 *   DIR/root/nix/store. The same derivations get the same paths in every test, on every machine. Nix can build into
 *   such a store only in a sandbox, even with sandbox=false: it needs root or user namespaces. Seen to work with 2.8.0,
 *   2.26.3 and 2.34.8 as root (the newer two must not run in a chroot: .ci/nix-chroot pivots).
 * - `own-store-dir`: NIX_STORE_DIR=DIR/store. Builds need nothing at all, but every path contains DIR, and a binary
 *   cache of such paths is of use only to a Nix with the same store directory.
 *
 * The sandbox has the host's /bin and /usr, so that builders may use coreutils without any package.
 */
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface NixEnvOptions {
  readonly shape?: 'rooted' | 'own-store-dir';
  /** Directory with the `nix` to use, put first on PATH: see nix-versions.ts. */
  readonly bin?: string | undefined;
  /** Further lines of nix.conf; of two for one setting the later counts. */
  readonly config?: readonly string[];
}

export interface NixEnv {
  /** The temporary directory; a test may keep more things in it. */
  readonly dir: string;
  /** The whole environment for programs that are to use this Nix. */
  readonly env: Readonly<Record<string, string>>;
  readonly storeDir: string;
  /** Where the store's bytes lie. */
  readonly realStoreDir: string;
  cleanup(): Promise<void>;
}

const CONFIG = [
  'experimental-features = nix-command flakes',
  'build-users-group =',
  'sandbox = false',
  'sandbox-fallback = false',
  'sandbox-paths = /bin? /usr? /lib? /lib64? /etc/alternatives?',
  'substituters =',
  'require-sigs = true',
  'max-jobs = 2',
  // No test outlives a crash of its machine.
  'fsync-metadata = false',
  // Tests change what a cache has between two requests.
  'narinfo-cache-negative-ttl = 0',
  'narinfo-cache-positive-ttl = 0',
  'flake-registry =',
  'warn-dirty = false',
];

export async function createNixEnv(options: NixEnvOptions = {}): Promise<NixEnv> {
  const { shape = 'rooted', bin, config = [] } = options;
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-env-'));
  for (const part of ['home', 'tmp', 'etc']) await mkdir(join(dir, part));
  await writeFile(join(dir, 'etc/nix.conf'), `${[...CONFIG, ...config].join('\n')}\n`);
  const place: Record<string, string> =
    shape === 'rooted'
      ? { NIX_REMOTE: `local?root=${join(dir, 'root')}` }
      : {
          NIX_STORE_DIR: join(dir, 'store'),
          NIX_STATE_DIR: join(dir, 'state'),
          NIX_LOG_DIR: join(dir, 'log'),
        };
  return {
    dir,
    storeDir: shape === 'rooted' ? '/nix/store' : join(dir, 'store'),
    realStoreDir: shape === 'rooted' ? join(dir, 'root/nix/store') : join(dir, 'store'),
    env: {
      PATH: [...(bin === undefined ? [] : [bin]), process.env['PATH'] ?? ''].join(':'),
      HOME: join(dir, 'home'),
      XDG_CACHE_HOME: join(dir, 'home/cache'),
      XDG_CONFIG_HOME: join(dir, 'home/config'),
      XDG_DATA_HOME: join(dir, 'home/data'),
      XDG_STATE_HOME: join(dir, 'home/state'),
      TMPDIR: join(dir, 'tmp'),
      NIX_CONF_DIR: join(dir, 'etc'),
      NIX_USER_CONF_FILES: '',
      NO_PROXY: '127.0.0.1,localhost',
      ...place,
    },
    cleanup: () => removeStore(dir),
  };
}

/** A Nix with an empty store that fetches from `substituters` only, and takes only what one of `publicKeys` signed. */
export function createNixClient(
  options: NixEnvOptions & { readonly substituters: readonly string[]; readonly publicKeys?: readonly string[] },
): Promise<NixEnv> {
  const { substituters, publicKeys = [], config = [], ...rest } = options;
  const trust = [`substituters = ${substituters.join(' ')}`, `trusted-public-keys = ${publicKeys.join(' ')}`];
  return createNixEnv({ ...rest, config: [...trust, ...config] });
}

/** Store directories are read-only, which stops everyone but root from emptying them. */
async function removeStore(dir: string): Promise<void> {
  if (process.getuid?.() !== 0) await makeWritable(dir);
  await rm(dir, { recursive: true, force: true, maxRetries: 3 });
}

async function makeWritable(dir: string): Promise<void> {
  await chmod(dir, 0o755);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(dir, entry.name));
  }
}

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Measurement, measure } from './measure.ts';
import { inStore } from './store-namespace.ts';

/** Our own command line, as a user's shell runs it, with a Nix store of the bench's. */
export interface Nixcache {
  /** Pushes store paths and their closures to a cache reference; `paths` go in on stdin. */
  push(paths: readonly string[], to: string): Promise<Measurement>;
}

export interface NixcacheOptions {
  /** The entry point; bin/nixcache.js when not given, which runs what is in dist. */
  readonly entry?: string | undefined;
  readonly storeRoot: string;
  /** Home of the user: its state stays between the runs with one home, and is nothing with a new one. */
  readonly home: string;
  readonly secretKeyFile: string;
}

export const BIN = fileURLToPath(new URL('../../bin/nixcache.js', import.meta.url));

export async function openNixcache({
  entry = BIN,
  storeRoot,
  home,
  secretKeyFile,
}: NixcacheOptions): Promise<Nixcache> {
  await mkdir(home, { recursive: true });
  const own = ['HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME'].map(
    (name) => `${name}=${name === 'HOME' ? home : join(home, name)}`,
  );
  const env = ['--unset=GITHUB_ACTIONS', ...own];
  return {
    push(paths, to) {
      const args = ['push', '-', '--to', to, '--no-upstream', '--key-file', secretKeyFile, '--quiet'];
      const command = inStore(storeRoot, { file: 'env', args: [...env, process.execPath, entry, ...args] });
      return measure(command, { input: `${paths.join('\n')}\n` });
    },
  };
}

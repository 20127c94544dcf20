import { mkdtemp, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { directorySize } from './directory-size.ts';
import { type Measurement, measure } from './measure.ts';

/** `nix copy` of some Nix into a directory. */
export interface Rival {
  /** As `nix --version` says. */
  readonly version: string;
  /** Copies `path` with its closure into a binary cache that is not there yet; the bytes of its files come with it. */
  copy(path: string): Promise<Measurement & { readonly sizeBytes: number }>;
}

export interface RivalOptions {
  /** A `nix` command. */
  readonly program: string;
  readonly storeRoot: string;
  /** For the caches it writes; each is removed after its copy. */
  readonly tempDir: string;
  readonly secretKeyFile: string;
}

export async function openRival({ program, storeRoot, tempDir, secretKeyFile }: RivalOptions): Promise<Rival> {
  return {
    version: (await execa(program, ['--version'])).stdout,
    async copy(path) {
      const dir = await mkdtemp(join(tempDir, 'rival-'));
      try {
        const from = ['--extra-experimental-features', 'nix-command', '--store', `local?root=${storeRoot}`];
        const to = `file://${dir}/cache?compression=zstd&secret-key=${secretKeyFile}`;
        // A home of its own: what Nix remembers of a binary cache from an earlier copy must not spare it work.
        const args = [`HOME=${dir}/home`, program, ...from, 'copy', '--to', to, path];
        const measurement = await measure({ file: 'env', args });
        return { ...measurement, sizeBytes: await directorySize(join(dir, 'cache')) };
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    },
  };
}

/** The `nix` of Debian unstable, next to the machine's own; `.ci/nix-chroot` makes it, as root. */
export async function ensureNewerNix(): Promise<string> {
  const script = fileURLToPath(new URL('../../.ci/nix-chroot', import.meta.url));
  await execa(script, ['sid'], { stdio: ['ignore', 'ignore', 'inherit'] });
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'nixcache-test/sid.bin/nix');
}

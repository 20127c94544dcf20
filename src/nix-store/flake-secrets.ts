/**
 * Secret keys in a flake's source: Nix copies the source to its store, where everyone can read it, and an output that
 * refers to `self` takes it into the cache. In git only what is tracked is copied; elsewhere, all that lies there.
 */
import { readdir, realpath } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { parseSecretKey } from '../nix/signature.ts';
import { readRegular } from '../regular-file.ts';
import type { NixCommand } from './nix-command.ts';

export interface RefuseOptions extends CallOptions {
  /** Absolute: files with secrets that are in use, whatever their names. */
  readonly files: readonly string[];
}

/** How a key file of ours is called. */
const KEY_FILE = /\.secret$/;
const MAX_KEY_BYTES = 4096;

/** @throws {NixcacheError} ERR_USAGE naming the first such file; nothing was copied yet */
export async function refuseSecretFiles(
  command: NixCommand,
  flakeRef: string,
  { files, signal }: RefuseOptions,
): Promise<void> {
  const source = await findSource(flakeRef, command.cwd);
  if (source === undefined) return;
  const { directory, inGit } = source;
  const named = await Promise.all(files.map((file) => realpath(file).catch(() => file)));
  const suspects = new Set([...named, ...(await keyFilesIn(directory))]);
  for (const file of suspects) {
    const inside = relative(directory, file);
    if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`)) continue;
    if (inGit && !(await isTracked(command, directory, inside, { signal }))) continue;
    throw new NixcacheError(
      'ERR_USAGE',
      `the secret key ${file} lies in the flake's source ${directory}, which Nix copies to its store for everyone to read: ` +
        `move it elsewhere, for instance to ~/.config/nixcache/keys${inGit ? ', and take it out of git' : ''}; ` +
        'if Nix has seen it there before, make a new key',
    );
  }
}

interface FlakeDirectory {
  /** All symbolic links followed. */
  readonly directory: string;
  readonly inGit: boolean;
}

/** The directory that Nix would copy for a flake on this machine; undefined for one from elsewhere. */
async function findSource(flakeRef: string, cwd: string): Promise<FlakeDirectory | undefined> {
  const [, scheme = '', path = ''] = /^(path:|git\+file:(?:\/\/)?)?([^?]*)/.exec(flakeRef) ?? [];
  // Other words without a scheme are names in a registry of flakes.
  if (scheme === '' && !/^(\/|\.{1,2}(\/|$))/.test(path)) return undefined;
  const start = await realpath(resolve(cwd, scheme === '' ? path : unescapeUrl(path))).catch(() => undefined);
  if (start === undefined) return undefined; // Nix says it better
  if (scheme === 'path:') return { directory: start, inGit: false };
  // As Nix does: up to where git's directory is, or else where the flake is.
  let flake: string | undefined;
  for (let directory = start; ; directory = dirname(directory)) {
    const names: readonly string[] = await readdir(directory).catch(() => []);
    if (names.includes('.git')) return { directory, inGit: true };
    if (names.includes('flake.nix')) flake ??= directory;
    if (directory === dirname(directory)) break;
  }
  return flake === undefined ? undefined : { directory: flake, inGit: false };
}

function unescapeUrl(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Secret keys at the top of `directory`, called as ours are, whether they are in use or not. */
async function keyFilesIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile() && KEY_FILE.test(entry.name));
  const found = await Promise.all(
    files.map(async ({ name }) => ((await holdsKey(join(directory, name))) ? join(directory, name) : [])),
  );
  return found.flat();
}

async function holdsKey(file: string): Promise<boolean> {
  try {
    parseSecretKey((await readRegular(file, { links: 'refused', maxBytes: MAX_KEY_BYTES })).toString('utf8'));
    return true;
  } catch {
    return false;
  }
}

/** Whether git has `file` in its index. When that cannot be told, it is taken to. */
async function isTracked(command: NixCommand, directory: string, file: string, options: CallOptions): Promise<boolean> {
  const args = ['-C', directory, 'ls-files', '--error-unmatch', '--', `:(literal)${file}`];
  const { exitCode } = await command.run('git', args, options);
  return exitCode !== 1;
}

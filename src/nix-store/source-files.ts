/**
 * The files that Nix copies to its store when it reads a flake on this machine. In git: what is tracked, or what the
 * commit that is asked for holds; elsewhere, all that lies there.
 */
import { type Dirent, readdirSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { abortReason, type CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import { readIfAny } from '../regular-file.ts';
import type { NixCommand } from './nix-command.ts';

export interface LocalSource {
  /** All symbolic links followed. */
  readonly directory: string;
  /** Where flake.nix lies in it. */
  readonly flake: string;
  readonly inGit: boolean;
  /** The branch, tag or commit that is copied instead of the work tree. */
  readonly revision: string | undefined;
  readonly submodules: boolean;
}

/** Files are given out in groups of this size, between which others have their turn: some 10 ms of work. */
const GROUP_SIZE = 512;

/** What Nix would copy for `flakeRef`; undefined for a flake from elsewhere, or where there is none. */
export async function findLocalSource(flakeRef: string, cwd: string): Promise<LocalSource | undefined> {
  const [, scheme = '', path = '', query = ''] =
    /^(path:|git\+file:(?:\/\/)?)?([^?#]*)(?:\?([^#]*))?/.exec(flakeRef) ?? [];
  // Other words without a scheme are names in a registry of flakes.
  if (scheme === '' && !/^(\/|\.{1,2}(\/|$))/.test(path)) return undefined;
  const start = await realpath(resolve(cwd, scheme === '' ? path : unescapeUrl(path))).catch(() => undefined);
  if (start === undefined) return undefined; // Nix says it better
  const parameters = new URLSearchParams(query);
  const named = join(start, parameters.get('dir') ?? '');
  if (scheme === 'path:') {
    return { directory: start, flake: named, inGit: false, revision: undefined, submodules: false };
  }
  const asked = parameters.get('rev') ?? parameters.get('ref') ?? undefined;
  // As Nix does: up to where git's directory is, or else where the flake is.
  let flake: string | undefined;
  for (let directory = start; ; directory = dirname(directory)) {
    const names: readonly string[] = await readdir(directory).catch(() => []);
    const isBare = ['HEAD', 'objects', 'refs'].every((name) => names.includes(name));
    if (names.includes('.git') || (scheme !== '' && isBare)) {
      const submodules = parameters.get('submodules') === '1' || (await asksForSubmodules(start, parameters));
      const within = flake ?? (parameters.has('dir') || !names.includes('flake.nix') ? named : directory);
      return { directory, flake: within, inGit: true, revision: isBare ? (asked ?? 'HEAD') : asked, submodules };
    }
    if (names.includes('flake.nix')) flake ??= directory;
    if (directory === dirname(directory)) break;
  }
  if (flake === undefined) return undefined;
  return { directory: flake, flake, inGit: false, revision: undefined, submodules: false };
}

function unescapeUrl(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Since Nix 2.27 a flake can say `inputs.self.submodules = true` of itself. */
async function asksForSubmodules(start: string, parameters: URLSearchParams): Promise<boolean> {
  const flake = (await readIfAny(join(start, parameters.get('dir') ?? '', 'flake.nix'))) ?? '';
  return /\bsubmodules\s*=\s*true\b/.test(flake);
}

/** All files of the work tree that Nix would copy, absolute, in groups; among them links, submodules and what is gone. */
export async function* copiedFiles(
  command: NixCommand,
  source: LocalSource,
  { signal }: CallOptions,
): AsyncGenerator<readonly string[]> {
  const { directory, inGit } = source;
  const tracked = inGit ? await trackedFiles(command, source, { signal }) : undefined;
  let group: string[] = [];
  // Whether git has a file cannot always be told; then it is taken to.
  for (const file of tracked ?? filesBelow(directory, { except: inGit ? '.git' : undefined })) {
    if (group.push(`${directory}/${file}`) < GROUP_SIZE) continue;
    yield group;
    group = [];
    await nextTurn();
    if (signal?.aborted) throw abortReason(signal);
  }
  yield group;
}

async function trackedFiles(
  command: NixCommand,
  { directory, submodules }: LocalSource,
  options: CallOptions,
): Promise<readonly string[] | undefined> {
  return git(command, directory, ['ls-files', '-z', ...(submodules ? ['--recurse-submodules'] : [])], options);
}

/** Relative to `directory`; all but directories, links not followed. */
function* filesBelow(directory: string, { except }: { readonly except: string | undefined }): Generator<string> {
  const left = [''];
  for (let below = left.pop(); below !== undefined; below = left.pop()) {
    for (const entry of entriesOf(`${directory}/${below}`)) {
      if (!entry.isDirectory()) yield below + entry.name;
      else if (below !== '' || entry.name !== except) left.push(`${below}${entry.name}/`);
    }
  }
}

/** Synchronously, as many small steps are three times as fast so. What cannot be read Nix cannot copy. */
function entriesOf(directory: string): readonly Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}

export interface CommittedFile {
  readonly path: string;
  readonly text: string;
}

/** Lists the regular files of the commit with `minBytes` to `maxBytes` that have a line which `pattern`, an extended regular expression, matches. */
export async function* committedFiles(
  command: NixCommand,
  { directory, revision = 'HEAD' }: LocalSource,
  { pattern, maxBytes, signal }: CallOptions & { readonly pattern: string; readonly maxBytes: number },
): AsyncGenerator<CommittedFile> {
  const run = async (...args: string[]): Promise<readonly string[]> =>
    (await git(command, directory, args, { signal })) ?? [];
  const [tree = ''] = (await run('rev-parse', '--verify', '--end-of-options', `${revision}^{tree}`)).map((line) =>
    line.trim(),
  );
  if (tree === '') return; // Nix says it better
  const matching = await run('grep', '-l', '-z', '-a', '-E', '--no-recurse-submodules', '-e', pattern, tree);
  if (matching.length === 0) return;
  const wanted = new Set(matching.map((line) => line.slice(tree.length + 1)));
  for (const line of await run('ls-tree', '-r', '-l', '-z', '--full-tree', tree)) {
    const [, blob = '', size = '', path = ''] = /^100\d+ blob ([0-9a-f]+) +(\d+)\t(.*)$/s.exec(line) ?? [];
    if (!wanted.has(path) || Number(size) > maxBytes) continue;
    yield { path, text: (await run('cat-file', 'blob', blob)).join('') };
  }
}

/** What git lists, as records that end with NUL; undefined where it cannot tell, or is not there. */
async function git(
  command: NixCommand,
  directory: string,
  args: readonly string[],
  options: CallOptions,
): Promise<readonly string[] | undefined> {
  try {
    const { exitCode, stdout } = await command.run('git', ['-C', directory, ...args], options);
    if (exitCode !== 0) return undefined;
    const records = stdout.split('\0');
    return records.at(-1) === '' ? records.slice(0, -1) : records;
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_NIX')) throw error;
    return undefined;
  }
}

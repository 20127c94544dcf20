/**
 * Secret keys in a flake's source: Nix copies the source to its store, where everyone can read it, and an output that
 * refers to `self` takes it into the cache.
 */
import { lstatSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { isSecretKey, MAX_SECRET_KEY_BYTES, type SecretKey, secretOf } from '../nix/signature.ts';
import { readRegularSync } from '../regular-file.ts';
import { localInputs } from './local-inputs.ts';
import type { NixCommand } from './nix-command.ts';
import { committedFiles, copiedFiles, findLocalSource, type LocalSource } from './source-files.ts';

export interface KeysInUse {
  /** Absolute: files with secrets, whatever they hold. */
  readonly files: readonly string[];
  /** Their text lies in no file. */
  readonly keys: readonly SecretKey[];
}

/** Of the 88 characters: the last ones say little. */
const TELLING_CHARACTERS = 80;
const MIN_KEY_BYTES = 88;
/** What every file with a secret key has in it, but for one that is broken into lines. */
const KEY_LIKE = '[A-Za-z0-9+/]{86}';

/** Of a flake and its inputs. */
const MAX_SOURCES = 1000;

/**
 * Looks at each file of at most 4096 bytes that Nix would copy for `flakeRef`, also for inputs on this machine.
 *
 * @throws {NixcacheError} ERR_USAGE naming the first that holds a secret key; nothing was copied yet
 */
export async function refuseSecretFiles(
  command: NixCommand,
  flakeRef: string,
  options: KeysInUse & CallOptions,
): Promise<void> {
  const left = [{ ref: flakeRef, cwd: command.cwd }];
  const seen = new Set<string>();
  for (let next = left.pop(); next !== undefined && seen.size < MAX_SOURCES; next = left.pop()) {
    const isInput = seen.size > 0;
    const found = await findLocalSource(next.ref, next.cwd);
    // An input need not be a flake.
    const source =
      found ?? (isInput && /^[/.]/.test(next.ref) ? await findLocalSource(`path:${next.ref}`, next.cwd) : undefined);
    const key = JSON.stringify(source);
    if (source === undefined || seen.has(key)) continue;
    seen.add(key);
    await refuseIn(source, command, options);
    for (const ref of await localInputs(source.flake)) left.push({ ref, cwd: source.flake });
  }
}

async function refuseIn(
  source: LocalSource,
  command: NixCommand,
  { files, keys, signal }: KeysInUse & CallOptions,
): Promise<void> {
  const secrets = keys.map((key) => secretOf(key).slice(0, TELLING_CHARACTERS));
  const holdsSecret = (text: string): boolean => secrets.some((secret) => text.includes(secret)) || isSecretKey(text);
  if (source.revision !== undefined) {
    const asked = { pattern: KEY_LIKE, maxBytes: MAX_SECRET_KEY_BYTES, signal };
    for await (const { path, text } of committedFiles(command, source, asked)) {
      if (holdsSecret(text)) throw refusal(`${path} in ${source.revision}`, source);
    }
    return;
  }
  const named = new Set(await Promise.all(files.map((file) => realpath(file).catch(() => file))));
  for await (const group of copiedFiles(command, source, { signal })) {
    for (const file of group) {
      if (named.has(file) || holdsSecret(smallFile(file))) throw refusal(file, source);
    }
  }
}

const refusal = (file: string, { directory, inGit }: LocalSource): NixcacheError =>
  new NixcacheError(
    'ERR_USAGE',
    `the secret key ${file} lies in the flake's source ${directory}, which Nix copies to its store for everyone to read: ` +
      `move it elsewhere, for instance to ~/.config/nixcache/keys${inGit ? ', and take it out of git' : ''}; ` +
      'if Nix has seen it there before, make a new key',
  );

/** The text of a regular file that is as long as those with keys are; else, and where it cannot be read, nothing. */
function smallFile(file: string): string {
  try {
    const stats = lstatSync(file, { throwIfNoEntry: false });
    if (!stats?.isFile() || stats.size < MIN_KEY_BYTES || stats.size > MAX_SECRET_KEY_BYTES) return '';
    return readRegularSync(file, { links: 'refused', maxBytes: MAX_SECRET_KEY_BYTES }).toString('latin1');
  } catch {
    return ''; // Nix cannot copy it either
  }
}

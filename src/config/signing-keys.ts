/** The secret keys to sign with: which are meant, and reading them. Nothing here prints what a key file holds. */
import { stat } from 'node:fs/promises';
import type { CallOptions } from '../call-options.ts';
import { variable } from '../environment.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';
import { MAX_SECRET_KEY_BYTES, parseSecretKey, type SecretKey } from '../nix/signature.ts';
import { readNamed } from '../regular-file.ts';
import { given, NO_CONFIG, type Setting, type Sources } from './setting.ts';
import { PATH, PATHS } from './setting-types.ts';

/** A key in a file, or in a variable that holds the key itself. */
export type SigningKeySource =
  | { readonly from: string; readonly file: string }
  | { readonly from: string; readonly text: string };

/** One key file, in the config file alone. */
export const SIGNING_KEY_FILE = { type: PATH, key: 'signing_key_file' } as const satisfies Setting;
/** The same word in a variable holds the key itself. */
const KEY_VARIABLES = ['NIXCACHE_SIGNING_KEY', 'NIX_SIGNING_KEY'];

/**
 * The first of: `--key-file`, NIXCACHE_SIGNING_KEY_FILE, the key in NIXCACHE_SIGNING_KEY or NIX_SIGNING_KEY, the
 * config file. None is no error: the cache is unsigned then.
 */
export const SIGNING_KEYS = {
  ...{ type: PATHS, flag: '--key-file <file>', env: 'NIXCACHE_SIGNING_KEY_FILE', key: 'signing_key_files' },
  help: 'sign with this secret key',
  note: `${KEY_VARIABLES.join(' or ')} hold a key itself`,
  resolve: resolveSigningKeys,
} as const satisfies Setting;

export function resolveSigningKeys(sources: Sources): readonly SigningKeySource[] {
  const beforeFile = { ...sources, config: NO_CONFIG };
  const inVariable = KEY_VARIABLES.find((name) => variable(sources.env, name) !== undefined);
  const named = filesIn(SIGNING_KEYS, beforeFile);
  if (named.length > 0) return named;
  if (inVariable !== undefined) return [{ from: inVariable, text: variable(sources.env, inVariable) ?? '' }];
  return [...filesIn(SIGNING_KEY_FILE, sources), ...filesIn(SIGNING_KEYS, sources)];
}

function filesIn(setting: Setting<string | readonly string[]>, sources: Sources): readonly SigningKeySource[] {
  const found = given(setting, sources);
  if (found === undefined) return [];
  const place = { cwd: found.directory ?? sources.cwd, env: sources.env };
  return [setting.type.read(found.value, place)].flat().map((file) => ({ from: found.from, file }));
}

export const keyFilesOf = (sources: readonly SigningKeySource[]): readonly string[] =>
  sources.flatMap((source) => ('file' in source ? source.file : []));

/**
 * Reads the keys, each name once.
 *
 * @throws {NixcacheError} ERR_KEY, naming the file or the variable
 */
export async function readSigningKeys(
  sources: readonly SigningKeySource[],
  options: CallOptions = {},
): Promise<readonly SecretKey[]> {
  const keys: SecretKey[] = [];
  for (const source of sources) {
    const key = await readSigningKey(source, options);
    const same = keys.find(({ name }) => name === key.name);
    if (same === undefined) keys.push(key);
    else if (same.publicKey.text !== key.publicKey.text) {
      throw new NixcacheError(
        'ERR_KEY',
        `two different signing keys are named '${key.name}'; clients could not tell them apart`,
      );
    }
  }
  return keys;
}

async function readSigningKey(source: SigningKeySource, options: CallOptions): Promise<SecretKey> {
  const what = 'file' in source ? `${source.file} (${source.from})` : source.from;
  const text = 'file' in source ? await readKeyFile(source.file, { what, ...options }) : source.text;
  try {
    return parseSecretKey(text);
  } catch (error) {
    throw new NixcacheError('ERR_KEY', `read signing key ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** The text of a key file. @throws {NixcacheError} ERR_KEY */
export async function readKeyFile(
  file: string,
  { what = file, signal }: CallOptions & { readonly what?: string } = {},
): Promise<string> {
  try {
    return (await readNamed(file, { maxBytes: MAX_SECRET_KEY_BYTES, signal })).toString('utf8');
  } catch (error) {
    signal?.throwIfAborted();
    throw new NixcacheError('ERR_KEY', `read signing key ${what}: ${ioReason(error)}`, { cause: error });
  }
}

/** The mode of a key file that others than its owner may read or write, in octal; undefined for one that is right. */
export async function modeOpenToOthers(file: string): Promise<string | undefined> {
  const found = await stat(file);
  const mode = found.mode & 0o777;
  return found.isFile() && (mode & 0o077) !== 0 ? `0${mode.toString(8)}` : undefined;
}

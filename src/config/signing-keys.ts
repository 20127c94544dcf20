/** The secret keys to sign with: which are meant, and reading them. Nothing here prints what a key file holds. */
import { open } from 'node:fs/promises';
import { absolutePath, variable } from '../environment.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { parseSecretKey, type SecretKey } from '../nix/signature.ts';
import { fromConfig, fromEnv, fromFlag, type Given, pick, type Sources } from './resolve.ts';

export interface SigningKeyFlags {
  readonly keyFile?: readonly string[] | undefined;
}

/** A key in a file, or in a variable that holds the key itself. */
export type SigningKeySource =
  | { readonly from: string; readonly file: string }
  | { readonly from: string; readonly text: string };

/** A key is some 100 bytes long; what is longer is another file. */
const MAX_KEY_BYTES = 4096;

/**
 * The first of: `--key-file`, NIXCACHE_SIGNING_KEY_FILE, the key in NIXCACHE_SIGNING_KEY or NIX_SIGNING_KEY, the
 * config file. None is no error: the cache is unsigned then.
 */
export function resolveSigningKeys(sources: Sources<SigningKeyFlags>): readonly SigningKeySource[] {
  const { flags, env, config, cwd } = sources;
  const { signing_key_file: one, signing_key_files: several } = config.settings;
  const configured = [...(one === undefined ? [] : [one]), ...(several ?? [])];
  const variableFile = fromEnv(env, 'NIXCACHE_SIGNING_KEY_FILE');
  const inVariable = ['NIXCACHE_SIGNING_KEY', 'NIX_SIGNING_KEY'].find((name) => variable(env, name) !== undefined);
  if (flags.keyFile === undefined && variableFile === undefined && inVariable !== undefined) {
    return [{ from: inVariable, text: variable(env, inVariable) ?? '' }];
  }
  const files: Given<readonly string[]> | undefined = pick(
    fromFlag('--key-file', flags.keyFile),
    variableFile && { ...variableFile, value: [variableFile.value] },
    fromConfig(config, one === undefined ? 'signing_key_files' : 'signing_key_file', configured),
  );
  return (files?.value ?? []).map((file) => ({
    from: files?.from ?? '',
    file: absolutePath(file, { cwd: files?.directory ?? cwd, env }),
  }));
}

/**
 * Reads the keys, each name once.
 *
 * @throws {NixcacheError} ERR_KEY, naming the file or the variable
 */
export async function readSigningKeys(sources: readonly SigningKeySource[]): Promise<readonly SecretKey[]> {
  const keys: SecretKey[] = [];
  for (const source of sources) {
    const key = await readSigningKey(source);
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

async function readSigningKey(source: SigningKeySource): Promise<SecretKey> {
  const what = 'file' in source ? `${source.file} (${source.from})` : source.from;
  const text = 'file' in source ? await readKeyFile(source.file, what) : source.text;
  try {
    return parseSecretKey(text);
  } catch (error) {
    throw new NixcacheError('ERR_KEY', `read signing key ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** The text of a key file. @throws {NixcacheError} ERR_KEY */
export async function readKeyFile(file: string, what: string = file): Promise<string> {
  try {
    await using handle = await open(file);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(MAX_KEY_BYTES + 1), 0);
    if (bytesRead > MAX_KEY_BYTES) throw new Error('it is too long to be a key');
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    throw new NixcacheError('ERR_KEY', `read signing key ${what}: ${messageOf(error)}`, { cause: error });
  }
}

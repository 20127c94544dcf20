/** Makes and reads key files. A secret key is written to its file and nowhere else. */
import { constants } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { GENERATE } from '../../../config/key-settings.ts';
import { NO_CONFIG, resolve } from '../../../config/setting.ts';
import { readKeyFile, readSigningKeys } from '../../../config/signing-keys.ts';
import { absolutePath, configHome } from '../../../environment.ts';
import { NixcacheError } from '../../../errors.ts';
import { ioError, ioReason } from '../../../io-error.ts';
import { generateKey, MAX_SECRET_KEY_BYTES } from '../../../nix/signature.ts';
import { makeDirectory } from '../../../oci/make-directory.ts';
import type { Call } from '../../command.ts';
import { readStandardInput } from '../../standard-input.ts';

const SECRET_MODE = 0o600;
const PUBLIC_MODE = 0o644;

/** @throws {NixcacheError} ERR_USAGE when one of the files is there already */
export async function generateKeyFiles({ args: [name = ''], flags, context }: Call): Promise<void> {
  if (name.includes('/') || name.startsWith('.') || name.startsWith('-')) {
    throw new NixcacheError(
      'ERR_USAGE',
      `'${name}' cannot name a key file: use a name like cache.example.org-1, and --out-dir for the directory`,
    );
  }
  const key = generateKey(name);
  context.output.addSecret(key.secret);
  const asked = resolve(GENERATE.outDirectory, { flags, ...context, config: NO_CONFIG });
  const directory = asked ?? join(configHome(context.env), 'nixcache/keys');
  const secretFile = join(directory, `${name}.secret`);
  const publicFile = join(directory, `${name}.public`);
  await makeKeyDirectory(directory);
  await createFile(secretFile, key.secret, SECRET_MODE);
  try {
    await createFile(publicFile, `${key.public}\n`, PUBLIC_MODE);
  } catch (error) {
    await unlink(secretFile); // half a pair is of no use, and would stand in the way of the next attempt
    throw error;
  }
  const { output } = context;
  output.result(
    { name, publicKey: key.public, secretKeyFile: secretFile, publicKeyFile: publicFile },
    () => key.public,
  );
  output.info(`the secret key is in ${secretFile}: keep it to yourself, and keep a copy; it cannot be made again`);
  output.info(`sign with it:     nixcache publish --key-file ${secretFile}`);
  output.info(`in GitHub:        gh secret set NIX_SIGNING_KEY < ${secretFile}`);
  output.info(`let clients trust it, in nix.conf:  extra-trusted-public-keys = ${key.public}`);
}

async function makeKeyDirectory(directory: string): Promise<void> {
  try {
    await makeDirectory(directory, { mode: 0o700 });
  } catch (error) {
    const help = 'name a directory that can be written with --out-dir';
    throw new NixcacheError('ERR_IO', `make ${directory}: ${ioReason(error)}; ${help}`, { cause: error });
  }
}

/** No newline after a secret key, as nix-store writes it. */
async function createFile(file: string, text: string, mode: number): Promise<void> {
  try {
    // O_EXCL: never over a file that is there, not even a dangling link; the mode is set whatever the umask adds.
    await using handle = await open(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    await handle.chmod(mode);
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new NixcacheError(
        'ERR_USAGE',
        `${file} exists already, and a key is never overwritten: choose another name (a new key gets the next number) or --out-dir`,
        { cause: error },
      );
    }
    throw ioError('write', file, error, 'name another directory with --out-dir');
  }
}

/** @throws {NixcacheError} ERR_KEY */
export async function showPublicKey({ args: [file = ''], context }: Call): Promise<void> {
  const isPiped = file === '-';
  const path = isPiped ? 'standard input' : absolutePath(file, context);
  const text = isPiped
    ? await readStandardInput(context, { what: 'the secret key', maxBytes: MAX_SECRET_KEY_BYTES })
    : await readKeyFile(path, { signal: context.signal });
  context.output.addSecret(text);
  const [key] = await readSigningKeys([{ from: path, text }]);
  if (key === undefined) throw new Error('a key that was read is missing');
  context.output.result({ name: key.name, publicKey: key.publicKey.text }, () => key.publicKey.text);
}

/** Who may do what, by the files of tokens that the settings name. */
import { SERVE, type ServeSettings } from '../../../config/serve-settings.ts';
import { flagNames } from '../../../config/setting.ts';
import { modeOpenToOthers } from '../../../config/signing-keys.ts';
import { messageOf, NixcacheError } from '../../../errors.ts';
import { ioReason } from '../../../io-error.ts';
import { readNamed } from '../../../regular-file.ts';
import type { GateOptions } from '../../../serve/gate.ts';
import { parseTokens, type Token, type TokenDefaults, Tokens } from '../../../serve/tokens.ts';
import type { Session } from '../../session/session.ts';

/** 1 MiB: some ten thousand tokens. */
const MAX_BYTES = 1024 * 1024;
/** Of random letters and digits; one that is shorter can be guessed by asking often. */
const LEAST_LENGTH = 16;

const READERS: TokenDefaults = { name: 'read-token', scopes: ['read'] };
const UPLOADERS: TokenDefaults = { name: 'upload-token', scopes: ['read', 'push'] };

/** Undefined: no tokens, and everyone may read. @throws {NixcacheError} ERR_USAGE */
export async function accessOf(
  session: Session,
  { readTokenFile, uploadTokenFile }: Pick<ServeSettings, 'readTokenFile' | 'uploadTokenFile'>,
): Promise<GateOptions | undefined> {
  if (readTokenFile === undefined && uploadTokenFile === undefined) return undefined;
  const tokens = [
    ...(readTokenFile === undefined ? [] : await readTokens(session, readTokenFile, READERS, SERVE.readTokenFile)),
    ...(uploadTokenFile === undefined
      ? []
      : await readTokens(session, uploadTokenFile, UPLOADERS, SERVE.uploadTokenFile)),
  ];
  return { tokens: new Tokens(tokens), isPrivate: readTokenFile !== undefined };
}

async function readTokens(
  { context, onWarning }: Session,
  file: string,
  defaults: TokenDefaults,
  { flag }: { readonly flag: string },
): Promise<readonly Token[]> {
  const { output, signal } = context;
  const fail = (cause: unknown, reason: string): never => {
    signal.throwIfAborted();
    throw new NixcacheError('ERR_USAGE', `read tokens from ${file} (${flagNames(flag).name}): ${reason}`, { cause });
  };
  const text = await readNamed(file, { maxBytes: MAX_BYTES, signal }).then(
    (bytes) => bytes.toString('utf8'),
    (error: unknown) => fail(error, ioReason(error)),
  );
  // Before it is looked at: what is refused may hold secrets as well.
  const secrets = secretsIn(text);
  for (const secret of secrets) output.addSecret(secret);
  const mode = await modeOpenToOthers(file).catch(() => undefined); // of a pipe that is gone by now
  if (mode !== undefined) onWarning(`the tokens in ${file} can be read by others (mode ${mode}): chmod 600 ${file}`);
  const short = secrets.filter(({ length }) => length < LEAST_LENGTH).length;
  if (short > 0) {
    const advice = 'openssl rand -hex 32 makes one that cannot be guessed';
    onWarning(`${file} has tokens of fewer than ${LEAST_LENGTH} characters; ${advice}`);
  }
  try {
    return parseTokens(text, defaults);
  } catch (error) {
    return fail(error, messageOf(error));
  }
}

/** The last word of each line that is no comment. */
const secretsIn = (text: string): readonly string[] =>
  text.split('\n').flatMap((line) => (/^\s*(?:#|$)/.test(line) ? [] : (line.trim().split(/\s+/).at(-1) ?? [])));

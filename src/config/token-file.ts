/** Tokens for other servers, which lie in files so that they stand in no configuration. */
import { NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';
import { readRegularSync } from '../regular-file.ts';

/** A token with claims in it is a few KiB. */
const MAX_BYTES = 64 * 1024;

/** The Authorization header with the token in `file`; undefined without a file. @throws {NixcacheError} ERR_USAGE */
export function bearerAuthorization(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const fail = (reason: string, cause?: unknown): never => {
    throw new NixcacheError('ERR_USAGE', `read a token from ${file} (bearer_token_file): ${reason}`, { cause });
  };
  let text: string;
  try {
    text = readRegularSync(file, { links: 'followed', maxBytes: MAX_BYTES }).toString('utf8');
  } catch (error) {
    return fail(ioReason(error), error);
  }
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) fail('it has to hold one token, of printable ASCII characters, and nothing else');
  return `Bearer ${token}`;
}

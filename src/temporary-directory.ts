import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NixcacheError } from './errors.ts';
import { ioError } from './io-error.ts';

/** What to do where the place for temporary files is no good. */
export const USE_TMPDIR = 'set TMPDIR to another directory';

/**
 * A new directory of our own, in TMPDIR unless `parent` is given, whose name starts with `prefix`; `what` it is for.
 *
 * @throws {NixcacheError} ERR_IO
 */
export async function makeTemporaryDirectory(prefix: string, what: string, parent?: string): Promise<string> {
  const place = parent ?? tmpdir();
  try {
    return await mkdtemp(join(place, prefix));
  } catch (cause) {
    const doing = `make a directory for ${what} in`;
    throw parent === undefined ? temporaryError(doing, place, cause) : ioError(doing, place, cause);
  }
}

/** What a failed file system call below TMPDIR becomes: whatever is wrong there, another place may do. */
export function temporaryError(doing: string, path: string, cause: unknown): NixcacheError {
  const error = ioError(doing, path, cause, USE_TMPDIR);
  if (error === cause || error.message.includes(USE_TMPDIR)) return error;
  const join = error.message.endsWith('?') ? '' : ', or';
  return new NixcacheError(error.code, `${error.message}${join} ${USE_TMPDIR}`, { cause });
}

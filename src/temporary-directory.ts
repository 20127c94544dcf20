import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
    throw ioError(`make a directory for ${what} in`, place, cause, parent === undefined ? USE_TMPDIR : undefined);
  }
}

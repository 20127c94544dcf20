import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, NixcacheError } from './errors.ts';

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
    const advice = parent === undefined ? 'make room there, or set TMPDIR to another directory' : 'make room there';
    throw new NixcacheError('ERR_IO', `make a directory for ${what} in ${place}: ${messageOf(cause)}; ${advice}`, {
      cause,
    });
  }
}

/** Where compressed NARs lie between being made and being stored: beside the blobs on a layout, else in TMPDIR. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, NixcacheError } from '../../errors.ts';
import { type ContentStore, canAdoptFiles } from '../../oci/content-store.ts';

export interface Spool extends AsyncDisposable {
  readonly directory: string;
}

const PREFIX = 'nixcache-spool-';
/** A day: no run goes so long without a new file in its spool, and what is older was left by one that was killed. */
const ABANDONED_MS = 24 * 60 * 60 * 1000;

/** @throws {NixcacheError} ERR_IO */
export async function openSpool(store: ContentStore): Promise<Spool> {
  if (canAdoptFiles(store)) {
    // A sweep of the layout removes what is left there.
    return { directory: await store.ingestDirectory(), [Symbol.asyncDispose]: async () => undefined };
  }
  const parent = tmpdir();
  try {
    await removeAbandoned(parent);
    const directory = await mkdtemp(join(parent, PREFIX));
    return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
  } catch (cause) {
    throw new NixcacheError(
      'ERR_IO',
      `make a directory for compressed NARs in ${parent}: ${messageOf(cause)}; make room there, or set TMPDIR to another disk`,
      { cause },
    );
  }
}

async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(parent, name);
    try {
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
    } catch {
      // Another user's, or gone already: whoever may remove it will.
    }
  }
}

/** Store paths as users give them: in full, as a file in one, or as a link like ./result. */
import { readlink, realpath } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { messageOf, NixcacheError } from '../errors.ts';
import { parseStorePath, type StorePath } from '../nix/store-path.ts';

export interface StorePathContext {
  readonly storeDir: string;
  readonly cwd: string;
  /** The command, for messages. */
  readonly what: string;
}

/** The store path that `text` is, lies in, or leads to as a link. @throws {NixcacheError} ERR_USAGE */
export async function resolveStorePath(text: string, { storeDir, cwd, what }: StorePathContext): Promise<StorePath> {
  const isInside = (path: string): boolean => path.startsWith(`${storeDir}/`);
  try {
    const path = resolve(cwd, text);
    const target = isInside(path) ? path : await followLink(path, isInside);
    const [name = ''] = target.slice(storeDir.length + 1).split(sep);
    return parseStorePath(isInside(target) ? `${storeDir}/${name}` : target, storeDir);
  } catch (error) {
    throw new NixcacheError('ERR_USAGE', `${what} ${text}: it is no store path: ${messageOf(error)}`, { cause: error });
  }
}

/** As many as the kernel follows. */
const MAX_LINKS = 40;

/** Where `path` leads to. The store need not be mounted at its store directory, so the last link may dangle. */
async function followLink(path: string, isEnd: (path: string) => boolean): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    let at = path;
    for (let links = 0; links < MAX_LINKS; links++) {
      const target = await readlink(at).catch(() => undefined);
      if (target === undefined) throw error;
      at = resolve(dirname(at), target);
      if (isEnd(at)) return at;
    }
    throw error;
  }
}

/** Store paths as users give them: in full, as a file in one, or as a link like ./result. */
import { readlink } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { NixcacheError } from '../errors.ts';
import { ioReason, isAbsent } from '../io-error.ts';
import { parseStorePath, type StorePath } from '../nix/store-path.ts';

export interface StorePathContext {
  readonly storeDir: string;
  readonly cwd: string;
  /** The command, for messages. */
  readonly what: string;
}

/**
 * The store path that `text` is, lies in, or leads to as a link: the first path in the store on that way, which may be a
 * link itself.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export async function resolveStorePath(text: string, { storeDir, cwd, what }: StorePathContext): Promise<StorePath> {
  const isInside = (path: string): boolean => path.startsWith(`${storeDir}/`);
  try {
    const target = await followLinks(resolve(cwd, text), isInside);
    const [name = ''] = target.slice(storeDir.length + 1).split(sep);
    return parseStorePath(isInside(target) ? `${storeDir}/${name}` : target, storeDir);
  } catch (error) {
    throw new NixcacheError('ERR_USAGE', `${what} ${text}: ${whyNot(text, error)}`, { cause: error });
  }
}

function whyNot(text: string, error: unknown): string {
  if (!isAbsent(error)) return `it is no store path: ${ioReason(error)}`;
  if (!/[#:]/.test(text)) return 'it is no store path: there is no such file';
  // What a flake reference stands for is not there before it is built.
  return `it is a flake reference, not a store path: build it first (nix build ${text}) and push ./result, or use nixcache publish`;
}

/** As many as the kernel follows. */
const MAX_LINKS = 40;

/**
 * Where `path` leads to, link by link, until that is `isEnd`: what lies behind is not looked at, for the store need not be
 * mounted at its store directory.
 */
async function followLinks(path: string, isEnd: (path: string) => boolean): Promise<string> {
  let at = path;
  for (let links = 0; links <= MAX_LINKS; links++) {
    const next = isEnd(at) ? undefined : await followFirstLink(at);
    if (next === undefined) return at;
    at = next;
  }
  throw new NixcacheError('ERR_USAGE', 'links lead in a circle');
}

/** `path` with the first link in it replaced by where that leads to; undefined when none of it is a link. */
async function followFirstLink(path: string): Promise<string | undefined> {
  const parts = path.split(sep);
  for (let count = 2; count <= parts.length; count++) {
    const upTo = parts.slice(0, count).join(sep);
    const target = await readlink(upTo).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return undefined;
      throw error;
    });
    if (target !== undefined) return resolve(dirname(upTo), target, ...parts.slice(count));
  }
  return undefined;
}

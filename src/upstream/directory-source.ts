/** A binary cache in a directory, `file://…`, as `nix copy --to file://…` writes it. */
import { type FileHandle, opendir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';
import { type HashPart, isHashPart } from '../nix/store-path.ts';
import { NotRegular, openRegular } from '../regular-file.ts';
import { type FileSource, type OpenFileOptions, resolveInside, type SourceFile } from './file-source.ts';

export class DirectorySource implements FileSource {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async open(url: string, { range, signal }: OpenFileOptions = {}): Promise<SourceFile | undefined> {
    const handle = await this.#openFile(url);
    if (handle === undefined) return undefined;
    try {
      const { size } = await handle.stat();
      const { offset, length } = range ?? { offset: 0 };
      const end = length === undefined ? size : offset + length;
      if (end > size || offset > size) {
        throw new NixcacheError('ERR_RANGE', `${this.#url}/${url} has ${size} bytes, not ${Math.max(end, offset)}`);
      }
      const body = handle.createReadStream({
        start: offset,
        end: Math.max(offset, end - 1),
        ...(signal && { signal }),
      });
      return { body, size, etag: undefined };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #openFile(relative: string): Promise<FileHandle | undefined> {
    const url = resolveInside(this.#url, relative);
    if (url === undefined) return undefined;
    try {
      return await openRegular(fileURLToPath(url), { links: 'followed' });
    } catch (cause) {
      if (cause instanceof NotRegular) return undefined;
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG') return undefined;
      throw new NixcacheError('ERR_UPSTREAM', `read ${url.pathname}: ${ioReason(cause)}`, { cause });
    }
  }
}

/**
 * Hash parts of all narinfos in the cache at `url`, which is `file://…`.
 *
 * @throws {NixcacheError} ERR_UPSTREAM when the directory cannot be read
 */
export async function listNarInfos(url: string): Promise<HashPart[]> {
  const hashParts: HashPart[] = [];
  try {
    for await (const { name } of await opendir(fileURLToPath(url))) {
      const hashPart = name.replace(/\.narinfo$/, '');
      if (hashPart !== name && isHashPart(hashPart)) hashParts.push(hashPart);
    }
  } catch (cause) {
    throw new NixcacheError('ERR_UPSTREAM', `list the binary cache ${url}: ${ioReason(cause)}`, { cause });
  }
  return hashParts.sort();
}

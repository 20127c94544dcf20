/** The paths that a binary cache in a directory has: the one kind of binary cache that can be listed. */
import { opendir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { messageOf, NixcacheError } from '../errors.ts';
import { type HashPart, isHashPart } from '../nix/store-path.ts';

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
    throw new NixcacheError('ERR_UPSTREAM', `list the binary cache ${url}: ${messageOf(cause)}`, { cause });
  }
  return hashParts.sort();
}

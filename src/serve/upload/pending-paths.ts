/** What was uploaded and is not in the cache yet, as readers look for it. */
import type { FoundRealisation, NarFile } from '../../cache/read/cache-reader.ts';
import { digestOfFile, type Entry, wholeBlob } from '../../cache-index/entry.ts';
import type { NixHash } from '../../nix/hash.ts';
import { mergeRealisations } from '../../nix/realisation.ts';
import { isSameSigned } from '../../nix/signature.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { UploadRecord } from './upload-record.ts';

/** A record without its listing, which stays on the disk. */
export interface PendingPath extends Omit<UploadRecord, 'listing'> {
  /** It is in the cache, where readers may not see it yet. */
  readonly isCommitted: boolean;
  /** Why it could not be committed when it was last tried. */
  readonly trouble: string | undefined;
}

export class PendingPaths {
  readonly #paths = new Map<HashPart, PendingPath>();
  readonly #byFile = new Map<NixHash, Set<HashPart>>();
  readonly #byRealisation = new Map<string, HashPart>();
  #added = 0;

  get size(): number {
    return this.#paths.size;
  }

  get(hashPart: HashPart): PendingPath | undefined {
    return this.#paths.get(hashPart);
  }

  /** In the order in which they came. */
  all(): Iterable<[HashPart, PendingPath]> {
    return this.#paths;
  }

  set(pending: PendingPath): void {
    const hashPart = hashPartOf(pending.narInfo.path);
    this.delete(hashPart);
    this.#paths.set(hashPart, pending);
    if (isAdded(pending)) this.#added += 1;
    const { fileHash } = pending.narInfo;
    this.#byFile.set(fileHash, (this.#byFile.get(fileHash) ?? new Set()).add(hashPart));
    for (const { id } of pending.realisations) this.#byRealisation.set(id, hashPart);
  }

  delete(hashPart: HashPart): void {
    const before = this.#paths.get(hashPart);
    if (before === undefined) return;
    this.#paths.delete(hashPart);
    if (isAdded(before)) this.#added -= 1;
    const sharing = this.#byFile.get(before.narInfo.fileHash);
    sharing?.delete(hashPart);
    if (sharing?.size === 0) this.#byFile.delete(before.narInfo.fileHash);
    for (const { id } of before.realisations) {
      if (this.#byRealisation.get(id) === hashPart) this.#byRealisation.delete(id);
    }
  }

  /** How many of them the cache does not have. */
  get added(): number {
    return this.#added;
  }

  /** The file of the spool that is the NAR of some path, if any is. */
  narNameOf(fileHash: NixHash): string | undefined {
    for (const hashPart of this.#byFile.get(fileHash) ?? []) {
      const name = this.#paths.get(hashPart)?.nar;
      if (name !== undefined) return name;
    }
    return undefined;
  }

  /** Whether the file `name` of the spool is the NAR of some path: files with other endings may have the same bytes. */
  usesNar({ name, fileHash }: { readonly name: string; readonly fileHash: NixHash }): boolean {
    return [...(this.#byFile.get(fileHash) ?? [])].some((hashPart) => this.#paths.get(hashPart)?.nar === name);
  }

  /** The entry of a path as it will be, `held` being what the cache has of it. */
  entryOf(hashPart: HashPart, held: Entry | undefined): Entry | undefined {
    const pending = this.#paths.get(hashPart);
    return pending === undefined ? held : entryOf(pending, held);
  }

  fileOf(fileHash: NixHash): NarFile | undefined {
    for (const hashPart of this.#byFile.get(fileHash) ?? []) {
      const pending = this.#paths.get(hashPart);
      if (pending?.nar !== undefined) return { entry: looseEntry(pending), size: pending.narInfo.fileSize };
    }
    return undefined;
  }

  realisationOf(id: string): FoundRealisation | undefined {
    const hashPart = this.#byRealisation.get(id);
    const pending = hashPart === undefined ? undefined : this.#paths.get(hashPart);
    const realisation = pending?.realisations.find((each) => each.id === id);
    return pending && realisation && { realisation, entry: looseEntry(pending) };
  }
}

const isAdded = ({ nar, isCommitted }: PendingPath): boolean => nar !== undefined && !isCommitted;

const looseEntry = ({ narInfo, realisations }: PendingPath): Entry => ({
  narInfo,
  nar: [wholeBlob(digestOfFile(narInfo.fileHash), narInfo.fileSize)],
  realisations,
});

/** Undefined for what the cache had and has no more. */
export function entryOf(pending: PendingPath, held: Entry | undefined): Entry | undefined {
  if (pending.nar !== undefined) return looseEntry(pending);
  if (held === undefined || !isSameSigned(held.narInfo, pending.narInfo)) return held;
  const sigs = [...new Set([...held.narInfo.sigs, ...pending.narInfo.sigs])];
  const realisations = mergeRealisations([held.realisations ?? [], pending.realisations]);
  return { ...held, narInfo: { ...held.narInfo, sigs }, realisations };
}

/** Whether the cache has all that was uploaded. */
export function isSeen(
  { narInfo, realisations }: Pick<PendingPath, 'narInfo' | 'realisations'>,
  held: Entry | undefined,
): boolean {
  if (held === undefined || held.narInfo.narHash !== narInfo.narHash) return false;
  const ids = new Set(held.realisations?.map(({ id }) => id));
  return narInfo.sigs.every((sig) => held.narInfo.sigs.includes(sig)) && realisations.every(({ id }) => ids.has(id));
}

/**
 * What the keys of a publish make of what the cache has already. An entry that none of them signed is as good as absent:
 * clients refuse it, and whoever may write to the cache may have put it there. Where the local store says the same of the
 * path, its entry is signed where it is, without upload; else the local path is published, and counts as the newer one.
 *
 * What only the cache says of a path is never signed, or a forger would get our signature. What one of the keys signed
 * before is our own word: the others sign it too, so that keys can be changed.
 */
import type { IndexReader } from '../cache/read/index-reader.ts';
import type { FoundEntry } from '../cache/read/loaded-entries.ts';
import type { Entry } from '../cache-index/entry.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { hasSigned, isSameSigned, type SecretKey, signaturesOf } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';

/**
 * `kept`: the cache has it as it should be. `to-sign`: it has the same, without the signature of one of the keys. `other`: it
 * has something else, that nobody known signed.
 */
export type Standing = 'absent' | 'kept' | 'to-sign' | 'other';

/** Whether there are no keys, or one of `keys` signed `info`: then it is what a publisher of ours put there. */
export const isVouchedFor = (info: PathInfo, keys: readonly SecretKey[]): boolean =>
  keys.length === 0 || keys.some((key) => hasSigned(key, info));

export class Signing {
  readonly #keys: readonly SecretKey[];
  readonly #reader: Pick<IndexReader, 'has' | 'findAsserted'>;
  /** Entries whose signatures were looked at and are all there, by the tag of their segment. */
  readonly #seen = new Map<string, Set<HashPart>>();
  /** What the local store says. */
  readonly #local: ReadonlyMap<HashPart, PathInfo>;

  constructor(
    keys: readonly SecretKey[],
    reader: Pick<IndexReader, 'has' | 'findAsserted'>,
    closure: readonly PathInfo[],
  ) {
    this.#keys = keys;
    this.#reader = reader;
    this.#local = new Map(keys.length === 0 ? [] : closure.map((info) => [hashPartOf(info.path), info]));
  }

  /** How a path of the local store stands in the cache. */
  standingOf({ path }: Pick<PathInfo, 'path'>): Standing {
    const hashPart = hashPartOf(path);
    if (!this.#reader.has(hashPart)) return 'absent';
    if (this.#keys.length === 0) return 'kept';
    const found = this.#reader.findAsserted(hashPart);
    if (!found) return 'kept'; // not at hand, since a look-up table says that it is signed
    const { narInfo } = found.entry;
    if (narInfo.path !== path) return 'other';
    if (this.#hasAll(found)) return 'kept';
    return this.#isOurs(narInfo) ? 'to-sign' : 'other';
  }

  /** How many entries of the segment `tag` were seen to bear all signatures. */
  seenIn(tag: string): number {
    return this.#seen.get(tag)?.size ?? 0;
  }

  /** Whether a key has not signed the entry yet and may. */
  isToSign(found: Pick<FoundEntry, 'entry'> & Partial<FoundEntry>): boolean {
    return !this.#hasAll(found) && this.#isOurs(found.entry.narInfo);
  }

  #hasAll({ entry: { narInfo }, tag, signers = [] }: Pick<FoundEntry, 'entry'> & Partial<FoundEntry>): boolean {
    if (this.#keys.every(({ publicKey }) => signers.includes(publicKey.text))) return true;
    if (tag !== undefined && this.#seen.get(tag)?.has(hashPartOf(narInfo.path))) return true;
    if (!this.#keys.every((key) => hasSigned(key, narInfo))) return false;
    if (tag !== undefined) this.#seen.set(tag, (this.#seen.get(tag) ?? new Set()).add(hashPartOf(narInfo.path)));
    return true;
  }

  /** `entry` as it is to be listed again: signed by all keys, if they may; undefined where a path of ours takes its place. */
  formOf(entry: Entry): Entry | undefined {
    const { narInfo } = entry;
    if (this.#keys.length === 0) return entry;
    const local = this.#local.get(hashPartOf(narInfo.path));
    if (!this.#isOurs(narInfo)) return local ? undefined : entry;
    const sigs = signaturesOf(narInfo, this.#keys, local?.sigs);
    return { ...entry, narInfo: { ...(local ? asLocal(narInfo, local) : narInfo), sigs } };
  }

  /** Whether the local store says the same, or a key of ours has said so before. */
  #isOurs(narInfo: PathInfo): boolean {
    const local = this.#local.get(hashPartOf(narInfo.path));
    return (local !== undefined && isSameSigned(local, narInfo)) || isVouchedFor(narInfo, this.#keys);
  }
}

/** With what no signature covers as the local store has it. */
function asLocal({ ca: _claimed, ...narInfo }: Entry['narInfo'], { deriver, ca }: PathInfo): Entry['narInfo'] {
  return { ...narInfo, ...(deriver === undefined ? {} : { deriver }), ...(ca === undefined ? {} : { ca }) };
}

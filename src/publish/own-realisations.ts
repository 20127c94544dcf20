/** What a publish knows of content-addressed outputs beside their paths, and what the cache lacks of that. */
import type { Entry } from '../cache-index/entry.ts';
import { isRealisationSigned, mergeRealisations, type Realisation, signRealisation } from '../nix/realisation.ts';
import type { SecretKey } from '../nix/signature.ts';
import { type BaseName, baseNameOf } from '../nix/store-path.ts';

export class OwnRealisations {
  /** By path, signed by all keys. */
  readonly signed: ReadonlyMap<BaseName, readonly Realisation[]>;
  readonly #keys: readonly SecretKey[];

  constructor(local: ReadonlyMap<BaseName, readonly Realisation[]> = new Map(), keys: readonly SecretKey[] = []) {
    this.#keys = keys;
    this.signed = new Map(
      [...local].map(([path, list]) => [path, mergeRealisations([list]).map((each) => signRealisation(each, keys))]),
    );
  }

  /** Those that `entry` does not say, or not signed by all keys. */
  lackedBy({ narInfo, realisations = [] }: Entry): readonly Realisation[] {
    const own = this.signed.get(baseNameOf(narInfo.path)) ?? [];
    // Versions of Nix differ in what one relies on: what is there and signed is as good.
    const isThere = ({ id }: Realisation): boolean =>
      realisations.some(
        (held) => held.id === id && this.#keys.every((key) => isRealisationSigned(held, [key.publicKey])),
      );
    return own.filter((each) => !isThere(each));
  }

  /** All that `entry` is to say. */
  with(entry: Entry): Entry['realisations'] {
    const lacked = this.lackedBy(entry);
    return lacked.length === 0 ? entry.realisations : mergeRealisations([entry.realisations ?? [], lacked]);
  }
}

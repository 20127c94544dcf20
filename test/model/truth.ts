/**
 * What is live in the registry, by docs/cache-format.md section 7 and by nothing else: read from what is true, not
 * through a store, and written without the code under test, but for the formats' own parsers.
 */
import { type CheckpointConfig, decodeCheckpointConfig, tagOf } from '../../src/cache-index/checkpoint.ts';
import { decodeEntries, entryRanges } from '../../src/cache-index/entries-blob.ts';
import { type Entry, parseEntry } from '../../src/cache-index/entry.ts';
import { CACHE_INDEX_TAG, parseTag } from '../../src/cache-index/tags.ts';
import { type HashPart, hashPartOf } from '../../src/nix/store-path.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { nameOfHash } from './model-paths.ts';
import type { SimulatedRegistry } from './simulated-registry.ts';

export interface TrueView {
  readonly live: ReadonlySet<HashPart>;
  /** Why the cache is not whole: what is live lacks bytes, or would lose them to the registry's garbage collector. */
  readonly damage: readonly string[];
  /** Live entries that refer to what is not live. */
  readonly open: readonly string[];
}

export class Truth {
  readonly #registry: SimulatedRegistry;
  readonly #entries = new Map<Digest, readonly Entry[]>();
  readonly #configs = new Map<Digest, CheckpointConfig>();

  constructor(registry: SimulatedRegistry) {
    this.#registry = registry;
  }

  look(): TrueView {
    const damage: string[] = [];
    const segments = this.#liveSegments(damage);
    const reachable = this.#registry.reachable();
    const live = new Map<HashPart, Entry>();
    for (const [tag, isVouchedFor] of segments) {
      const entries = this.#entriesOf(tag);
      if (!entries) {
        if (isVouchedFor) damage.push(`the entries of live ${short(tag)} are gone`);
        continue;
      }
      for (const entry of entries) {
        const hashPart = hashPartOf(entry.narInfo.path);
        live.set(hashPart, entry);
        for (const { digest } of [...entry.nar, ...(entry.listing?.extents ?? [])]) {
          const what = `bytes of ${nameOfHash.get(hashPart)}, which ${short(tag)} lists,`;
          if (!this.#registry.blobs.has(digest)) damage.push(`${what} are gone`);
          else if (!reachable.has(digest)) damage.push(`${what} are reached from no tag`);
        }
      }
    }
    const open: string[] = [];
    for (const [hashPart, { narInfo }] of live) {
      for (const reference of narInfo.references) {
        if (live.has(hashPartOf(reference))) continue;
        open.push(`${nameOfHash.get(hashPart)} refers to ${nameOfHash.get(hashPartOf(reference))}, which is not there`);
      }
    }
    return { live: new Set(live.keys()), damage, open };
  }

  /** By tag, whether more than `cache-index`, which may be stale, says so. */
  #liveSegments(damage: string[]): Map<string, boolean> {
    const { tags, manifests } = this.#registry;
    const checkpoints = new Map<string, CheckpointConfig>();
    for (const tag of tags.keys()) {
      if (parseTag(tag)?.kind !== 'checkpoint') continue;
      const config = this.#configOf(tag);
      if (config) checkpoints.set(tag, config);
      else damage.push(`the config of ${short(tag)} is gone`);
    }
    const replaced = new Set([...checkpoints.values()].flatMap(({ replaces }) => replaces));
    const live = new Map<string, boolean>();
    const add = (tag: string, isVouchedFor: boolean): void => {
      if (parseTag(tag)?.kind !== 'segment' || replaced.has(tag)) return;
      live.set(tag, isVouchedFor || live.get(tag) === true);
    };
    for (const tag of tags.keys()) add(tag, true);
    for (const [tag, { segments }] of checkpoints) if (!replaced.has(tag)) for (const each of segments) add(each, true);
    const index = manifests.get(tags.get(CACHE_INDEX_TAG) ?? ('' as Digest));
    const listed = index ? (this.#registry.contentOf(index.descriptor.digest)?.manifests ?? []) : [];
    for (const descriptor of listed) add(tagOf(descriptor) ?? '', false);
    return live;
  }

  #entriesOf(tag: string): readonly Entry[] | undefined {
    const id = parseTag(tag)?.id;
    const blob = id && this.#registry.blobs.get(id);
    if (!id || !blob) return undefined;
    const held = this.#entries.get(id) ?? parseAll(decodeEntries(blob.bytes, tag));
    this.#entries.set(id, held);
    return held;
  }

  #configOf(tag: string): CheckpointConfig | undefined {
    const id = parseTag(tag)?.id;
    const blob = id && this.#registry.blobs.get(id);
    if (!id || !blob) return undefined;
    const held = this.#configs.get(id) ?? decodeCheckpointConfig(blob.bytes, tag);
    this.#configs.set(id, held);
    return held;
  }
}

const parseAll = (text: Buffer): Entry[] =>
  [...entryRanges(text)].map(({ offset, length }) =>
    parseEntry(text.toString('utf8', offset, offset + length), '/nix/store'),
  );

/** Enough of a tag to tell it from others. */
const short = (tag: string): string => tag.slice(0, 40);

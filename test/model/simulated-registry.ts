/**
 * A registry that promises no more than registries do, seen from outside of time: what is true, and what reads may show.
 *
 * - Content by digest is what it is: there once a push was answered, until somebody deletes or collects it.
 * - A tag read by name, and the tag list, may for `lagMs` after a change show what was there before it; each read and each
 *   tag by itself, so that listings come reordered: a newer tag shows while an older one does not.
 * - A write of `cache-index` may be lost, as if somebody had overwritten it at the same instant with what was there before.
 * - A manifest is refused that names content which is not there. The protocol relies on that; `isLax` takes it away.
 * - Its garbage collector takes, in one step, whatever no tag reaches.
 */
import { CACHE_INDEX_TAG } from '../../src/cache-index/tags.ts';
import { NixcacheError } from '../../src/errors.ts';
import type { StoredManifest } from '../../src/oci/content-store.ts';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeManifestContent, type ManifestContent } from '../../src/oci/layout/references.ts';
import { Coin } from './coin.ts';

export interface RegistryHabits {
  readonly maxLayers: number;
  /** What the registry's coins fall by. */
  readonly seed: number;
  /** How long reads may be behind. */
  readonly lagMs: number;
  /** Share of reads within that time that are behind, and of writes of `cache-index` that are lost. */
  readonly lagShare: number;
  readonly lostShare: number;
  /** Takes manifests whose content is not there. */
  readonly isLax?: boolean;
}

interface Version {
  readonly at: number;
  /** Undefined where the tag was deleted. */
  readonly digest: Digest | undefined;
}

export class SimulatedRegistry {
  readonly name = 'simulated';
  readonly habits: RegistryHabits;
  /** The true time, in Unix milliseconds. Whoever schedules moves it on. */
  now: number;
  /** Called after each change, with the change in words. */
  onChange: (change: string) => void = () => undefined;
  /** While false, reads show what is true. */
  isLagging = true;
  readonly blobs = new Map<Digest, { readonly bytes: Buffer; readonly since: number }>();
  readonly manifests = new Map<Digest, StoredManifest & { readonly since: number }>();
  readonly tags = new Map<string, Digest>();
  readonly #history = new Map<string, Version[]>();
  /** Also those that are gone: a read that is behind may show them. */
  readonly #everything = new Map<Digest, StoredManifest>();
  readonly #contents = new Map<Digest, ManifestContent>();
  readonly #coin: Coin;

  constructor(habits: RegistryHabits, now: number) {
    this.habits = habits;
    this.now = now;
    this.#coin = new Coin(habits.seed);
  }

  /** The manifest at `tag`, now or, for a read that is behind, a while ago. */
  readTag(tag: string): StoredManifest | undefined {
    const digest = this.#seen(tag);
    return digest && this.#everything.get(digest);
  }

  listTags(): string[] {
    return [...this.#history.keys()].filter((tag) => this.#seen(tag) !== undefined);
  }

  pushBlob({ digest }: Descriptor, bytes: Buffer): void {
    if (this.blobs.has(digest)) return;
    this.blobs.set(digest, { bytes, since: this.now });
  }

  pushManifest(tag: string, mediaType: string, bytes: Buffer): Descriptor {
    const content = decodeManifestContent(bytes, `push ${tag}: the manifest`);
    const absent =
      content.blobs.find(({ digest }) => !this.blobs.has(digest)) ??
      content.manifests.find(({ digest }) => !this.manifests.has(digest));
    if (absent && this.habits.isLax !== true) {
      throw new NixcacheError('ERR_BLOB_UNKNOWN', `push ${tag}: ${absent.digest} is not there`);
    }
    const descriptor = describe(mediaType, bytes);
    const stored = { descriptor, bytes, since: this.now };
    this.manifests.set(descriptor.digest, stored);
    this.#everything.set(descriptor.digest, stored);
    if (tag === CACHE_INDEX_TAG && this.isLagging && this.#coin.falls(this.habits.lostShare)) return descriptor;
    this.#point(tag, descriptor.digest);
    this.onChange(`${tag} was pushed`);
    return descriptor;
  }

  /** Puts a manifest at `tag` that a registry would not take. */
  plant(tag: string, manifest: StoredManifest): void {
    this.manifests.set(manifest.descriptor.digest, { ...manifest, since: this.now });
    this.#everything.set(manifest.descriptor.digest, manifest);
    this.#point(tag, manifest.descriptor.digest);
  }

  deleteManifest(digest: Digest): 'deleted' | 'absent' {
    const tags = [...this.tags].filter(([, holder]) => holder === digest).map(([tag]) => tag);
    for (const tag of tags) this.#point(tag, undefined);
    const was = this.manifests.delete(digest);
    if (was) this.onChange(`${tags.join(' and ') || digest} was deleted`);
    return was ? 'deleted' : 'absent';
  }

  /** Takes what no tag reaches and what is at least `minAgeMs` old. */
  collectGarbage(minAgeMs: number): void {
    const reached = this.reachable();
    const isOld = ({ since }: { readonly since: number }): boolean => since <= this.now - minAgeMs;
    for (const [digest, manifest] of this.manifests) {
      if (!reached.has(digest) && isOld(manifest)) this.manifests.delete(digest);
    }
    for (const [digest, blob] of this.blobs) if (!reached.has(digest) && isOld(blob)) this.blobs.delete(digest);
    this.onChange('the registry collected garbage');
  }

  /** Everything that some tag reaches through manifests that are there. */
  reachable(): Set<Digest> {
    const reached = new Set<Digest>();
    const open = [...this.tags.values()];
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
      const content = reached.has(digest) ? undefined : this.contentOf(digest);
      reached.add(digest);
      for (const blob of content?.blobs ?? []) reached.add(blob.digest);
      for (const child of content?.manifests ?? []) open.push(child.digest);
    }
    return reached;
  }

  /** What the manifest `digest` names; undefined if it is not there. */
  contentOf(digest: Digest): ManifestContent | undefined {
    const manifest = this.manifests.get(digest);
    if (!manifest) return undefined;
    const held = this.#contents.get(digest) ?? decodeManifestContent(manifest.bytes, digest);
    this.#contents.set(digest, held);
    return held;
  }

  /** All that the registry holds: equal before and after means that nothing was touched. */
  snapshot(): unknown {
    return { tags: [...this.tags], manifests: [...this.manifests.keys()], blobs: [...this.blobs.keys()] };
  }

  #point(tag: string, digest: Digest | undefined): void {
    if (digest === undefined) this.tags.delete(tag);
    else this.tags.set(tag, digest);
    const versions = this.#history.get(tag) ?? [];
    versions.push({ at: this.now, digest });
    this.#history.set(tag, versions);
  }

  /** What a read of `tag` shows: the newest version, or one that something newer has replaced only just now. */
  #seen(tag: string): Digest | undefined {
    if (!this.isLagging) return this.tags.get(tag);
    const versions = this.#history.get(tag) ?? [];
    for (const { at, digest } of versions.toReversed()) {
      const isFresh = at > this.now - this.habits.lagMs;
      if (!isFresh || !this.#coin.falls(this.habits.lagShare)) return digest;
    }
    return undefined;
  }
}

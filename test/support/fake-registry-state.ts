import { createHash, randomUUID } from 'node:crypto';

export interface StoredFakeManifest {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

export interface UploadSession {
  readonly state: string;
  /** A session that bytes were sent to once must not be used for a second try. */
  begun: boolean;
  data: Buffer;
}

/** One repository of the fake: what was stored, and uploads under way. */
export class FakeRepository {
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, StoredFakeManifest>();
  /** In the order of creation. */
  readonly tags = new Map<string, string>();
  readonly uploads = new Map<string, UploadSession>();
  /** When blobs and manifests came, for those that wait for a manifest or a tag. */
  readonly #since = new Map<string, number>();
  /** What tags pointed at before the last write, and how many reads are yet to see that. */
  readonly #previous = new Map<string, { readonly digest: string | undefined; left: number }>();

  /** All that is stored, by kind and name: compare two of them. */
  snapshot(): ReadonlyMap<string, string> {
    return new Map([
      ...[...this.blobs].map(([digest, bytes]) => [`blob ${digest}`, fakeDigest(bytes)] as const),
      ...[...this.manifests].map(([digest, { bytes }]) => [`manifest ${digest}`, fakeDigest(bytes)] as const),
      ...[...this.tags].map(([tag, digest]) => [`tag ${tag}`, digest] as const),
    ]);
  }

  /** Takes away what no tag reaches and what has been so for `afterMs`. */
  reap(now: number, afterMs: number): void {
    const reached = new Set<string>();
    const open = [...this.tags.values()];
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
      const manifest = this.manifests.get(digest);
      if (reached.has(digest) || manifest === undefined) continue;
      reached.add(digest);
      const { blobs, children } = named(manifest.bytes);
      for (const blob of blobs) reached.add(blob);
      open.push(...children);
    }
    for (const held of [this.blobs, this.manifests]) {
      for (const digest of held.keys()) {
        const since = this.#since.get(digest) ?? now;
        if (reached.has(digest)) this.#since.delete(digest);
        else if (now - since > afterMs) held.delete(digest);
        else this.#since.set(digest, since);
      }
    }
    for (const digest of this.#since.keys()) {
      if (!this.blobs.has(digest) && !this.manifests.has(digest)) this.#since.delete(digest);
    }
  }

  openUpload(): { readonly id: string; readonly session: UploadSession } {
    const id = randomUUID();
    const session = { state: randomUUID(), begun: false, data: Buffer.alloc(0) };
    this.uploads.set(id, session);
    return { id, session };
  }

  putManifest(reference: string, manifest: StoredFakeManifest, staleReads: number): string {
    const digest = fakeDigest(manifest.bytes);
    this.manifests.set(digest, manifest);
    if (reference.startsWith('sha256:')) return digest;
    this.#previous.set(reference, { digest: this.tags.get(reference), left: staleReads });
    this.tags.set(reference, digest);
    return digest;
  }

  /** The digest that a read of `reference` finds, which may be an old one. */
  find(reference: string): string | undefined {
    if (reference.startsWith('sha256:')) return reference;
    const previous = this.#previous.get(reference);
    if (previous === undefined || previous.left === 0) return this.tags.get(reference);
    previous.left -= 1;
    return previous.digest;
  }

  deleteManifest(digest: string): boolean {
    for (const [tag, held] of this.tags) if (held === digest) this.tags.delete(tag);
    return this.manifests.delete(digest);
  }

  /** `size` tags after `last`, and whether more follow. */
  page(
    order: 'creation' | 'lexical',
    size: number,
    last: string | null,
  ): { readonly tags: string[]; readonly more: boolean } {
    const all = [...this.tags.keys()];
    if (order === 'lexical') all.sort();
    const start = last === null ? 0 : all.indexOf(last) + 1;
    return { tags: all.slice(start, start + size), more: start + size < all.length };
  }

  /** Digests that a manifest names and that are not here. */
  missingFor(bytes: Buffer): string[] {
    const { blobs, children } = named(bytes);
    return [
      ...blobs.filter((digest) => !this.blobs.has(digest)),
      ...children.filter((digest) => !this.manifests.has(digest)),
    ];
  }
}

/** What a manifest, or an index, names. */
function named(bytes: Buffer): { readonly blobs: readonly string[]; readonly children: readonly string[] } {
  const manifest = JSON.parse(bytes.toString('utf8'));
  return {
    blobs: [manifest.config, ...(manifest.layers ?? [])].filter(Boolean).map(({ digest }) => String(digest)),
    children: (manifest.manifests ?? []).map(({ digest }: { digest: string }) => digest),
  };
}

export const fakeDigest = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

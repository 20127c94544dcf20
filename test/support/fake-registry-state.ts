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
  /** What tags pointed at before the last write, and how many reads are yet to see that. */
  readonly #previous = new Map<string, { readonly digest: string | undefined; left: number }>();

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
    const manifest = JSON.parse(bytes.toString('utf8'));
    const blobs = [manifest.config, ...(manifest.layers ?? [])].filter(Boolean).map(({ digest }) => String(digest));
    const children = (manifest.manifests ?? []).map(({ digest }: { digest: string }) => digest);
    return [
      ...blobs.filter((digest) => !this.blobs.has(digest)),
      ...children.filter((digest: string) => !this.manifests.has(digest)),
    ];
  }
}

export const fakeDigest = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

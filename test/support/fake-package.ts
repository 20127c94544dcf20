/** A container package over a repository of the fake registry: each manifest is a version of it. */
import type { FakeRepository, StoredFakeManifest } from './fake-registry-state.ts';

export interface FakeVersion {
  readonly id: number;
  /** Its manifest's digest. */
  readonly name: string;
  readonly created_at: string;
  readonly metadata: { readonly package_type: 'container'; readonly container: { readonly tags: readonly string[] } };
}

export class FakePackage {
  /** Ids of versions that were deleted, in that order. */
  readonly deleted: number[] = [];
  readonly #repository: FakeRepository;
  readonly #ids = new Map<string, number>();
  readonly #downloads = new Map<number, number>();

  constructor(repository: FakeRepository) {
    this.#repository = repository;
  }

  /** Newest first, untagged ones included. */
  versions(): FakeVersion[] {
    return [...this.#repository.manifests.keys()].reverse().map((digest) => ({
      id: this.idOf(digest),
      name: digest,
      created_at: '2026-01-01T00:00:00Z',
      metadata: { package_type: 'container', container: { tags: this.#tagsOf(digest) } },
    }));
  }

  /** Ids are large, and the same for ever. */
  idOf(digest: string): number {
    const id = this.#ids.get(digest) ?? 400_000_000 + this.#ids.size * 17;
    this.#ids.set(digest, id);
    return id;
  }

  /** Of the version that `tag` is on. */
  idOfTag(tag: string): number {
    return this.idOf(this.#repository.tags.get(tag) ?? '');
  }

  downloadsOf = (id: number): number => this.#downloads.get(id) ?? 0;

  setDownloads(id: number, count: number): void {
    this.#downloads.set(id, count);
  }

  delete(id: number, { takesSharedBlobs }: { readonly takesSharedBlobs: boolean }): void {
    const digest = [...this.#ids].find(([, known]) => known === id)?.[0] ?? '';
    const manifest = this.#repository.manifests.get(digest);
    if (!manifest) throw new Error(`there is no version ${id}`);
    this.#repository.deleteManifest(digest);
    this.deleted.push(id);
    const kept = new Set([...this.#repository.manifests.values()].flatMap(blobsOf));
    for (const blob of blobsOf(manifest)) if (takesSharedBlobs || !kept.has(blob)) this.#repository.blobs.delete(blob);
  }

  /** Bytes of everything stored. */
  storedBytes(): number {
    const { blobs, manifests } = this.#repository;
    return [...blobs.values(), ...[...manifests.values()].map(({ bytes }) => bytes)].reduce(
      (sum, { length }) => sum + length,
      0,
    );
  }

  #tagsOf(digest: string): string[] {
    return [...this.#repository.tags].filter(([, held]) => held === digest).map(([tag]) => tag);
  }
}

function blobsOf({ bytes }: StoredFakeManifest): string[] {
  const { config, layers = [] } = JSON.parse(bytes.toString('utf8')) as {
    readonly config?: { readonly digest: string };
    readonly layers?: readonly { readonly digest: string }[];
  };
  return [...(config ? [config.digest] : []), ...layers.map(({ digest }) => digest)];
}

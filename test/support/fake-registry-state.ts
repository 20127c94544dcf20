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
  /** What tags pointed at before the last write, for stale reads. */
  readonly previous = new Map<string, string | undefined>();

  openUpload(): { readonly id: string; readonly session: UploadSession } {
    const id = randomUUID();
    const session = { state: randomUUID(), begun: false, data: Buffer.alloc(0) };
    this.uploads.set(id, session);
    return { id, session };
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

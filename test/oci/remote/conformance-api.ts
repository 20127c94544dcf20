/** A registry's API as plain HTTP, for rules that are about its answers. */
import { expect } from 'vitest';
import { blobOf, manifestOf } from './open-repository.ts';

export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

export const INDEX = 'application/vnd.oci.image.index.v1+json';

export const OCTETS = 'application/octet-stream';

/** The API of one repository, as a client without any manners sees it. */
export class Api {
  readonly origin: string;
  readonly #base: string;

  constructor(host: string, repository: string) {
    this.origin = `http://${host}`;
    this.#base = `${this.origin}/v2/${repository}`;
  }

  async send(method: string, path: string, options: Omit<RequestInit, 'method'> = {}): Promise<Answer> {
    const url = path.startsWith('http') ? path : `${this.#base}/${path}`;
    const headers = { accept: `${MANIFEST}, ${INDEX}, */*`, ...(options.headers as Record<string, string>) };
    const response = await fetch(url, { ...options, method, headers, redirect: 'manual' });
    return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
  }

  /** The URL of a new upload. */
  async begin(): Promise<string> {
    const answer = await this.send('POST', 'blobs/uploads/');
    expect(answer.status).toBe(202);
    return this.locationOf(answer);
  }

  /** RFC 7231: it may be relative. */
  locationOf({ headers }: Answer): string {
    const location = headers.get('location');
    if (location === null) throw new Error('the answer has no Location');
    return new URL(location, this.origin).href;
  }

  async pushBlob(content: string): Promise<string> {
    const { bytes, descriptor } = blobOf(content);
    const answer = await this.finish(await this.begin(), descriptor.digest, bytes);
    expect(answer.status).toBe(201);
    return descriptor.digest;
  }

  finish(upload: string, digest: string, bytes: Uint8Array): Promise<Answer> {
    const url = `${upload}${upload.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`;
    return this.send('PUT', url, { body: Buffer.from(bytes), headers: { 'content-type': OCTETS } });
  }

  /** A manifest over a config of its own. */
  async pushManifest(
    tag: string,
  ): Promise<{ readonly answer: Answer; readonly bytes: Buffer; readonly digest: string }> {
    const config = `{"of":"${tag}"}`;
    await this.pushBlob(config);
    const bytes = manifestOf(blobOf(config).descriptor);
    const answer = await this.send('PUT', `manifests/${tag}`, { body: bytes, headers: { 'content-type': MANIFEST } });
    return { answer, bytes, digest: blobOf(bytes).descriptor.digest };
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

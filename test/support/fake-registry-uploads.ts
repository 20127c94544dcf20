/** Uploads of blobs to the fake registry. */
import type { IncomingMessage } from 'node:http';
import type { FakeRegistryTraits } from './fake-registry-faults.ts';
import { type Call, Refused, readBody } from './fake-registry-http.ts';
import { type FakeRepository, fakeDigest, type UploadSession } from './fake-registry-state.ts';

interface Registry {
  readonly traits: FakeRegistryTraits;
  readonly violations: string[];
  readonly host: string;
}

export class FakeUploads {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  async open({ request, response }: Call, repository: FakeRepository, name: string): Promise<void> {
    if ((await readBody(request)).length > 0) this.#registry.violations.push('POST of an upload with a body');
    const { id, session } = repository.openUpload();
    response.writeHead(202, { location: this.#location(name, id, session.state), 'content-length': 0 }).end();
  }

  #location(name: string, id: string, state: string): string {
    const path = `/v2/${name}/blobs/uploads/${id}?_state=${encodeURIComponent(state)}`;
    return this.#registry.traits.absoluteLocations ? `http://${this.#registry.host}${path}` : path;
  }

  async patch(call: Call, repository: FakeRepository, name: string, id: string): Promise<void> {
    const { request, response, act } = call;
    const session = this.#beginUpload(call, repository, id);
    const first = /^(\d+)-/.exec(request.headers['content-range'] ?? '')?.[1];
    if (first !== undefined && Number(first) !== session.data.length) throw new Refused(416, 'BLOB_UPLOAD_INVALID');
    session.data = await readBody(request);
    this.#checkRangedUpload(request, session.data.length);
    if (act?.type === 'lose-answer') return void request.socket.resetAndDestroy();
    const location = `${this.#location(name, id, session.state)}&patched=1`;
    response.writeHead(202, { location, range: `0-${session.data.length - 1}`, 'content-length': 0 }).end();
  }

  async finish(call: Call, repository: FakeRepository, name: string, id: string): Promise<void> {
    const { request, response, url, act } = call;
    const patched = url.searchParams.has('patched');
    const session = this.#beginUpload(call, repository, id, patched);
    const digest = url.searchParams.get('digest');
    if (digest === null) throw new Refused(400, 'DIGEST_INVALID', 'no digest');
    if (request.headers['content-length'] === undefined) this.#registry.violations.push('PUT without Content-Length');
    const body = await readBody(request);
    this.#checkRangedUpload(request, body.length);
    if (body.length > this.#registry.traits.maxPutBytes) throw new Refused(400, 'SIZE_INVALID');
    const data = patched ? session.data : body;
    repository.uploads.delete(id);
    if (fakeDigest(data) !== digest) throw new Refused(400, 'DIGEST_INVALID', 'provided digest did not match');
    repository.blobs.set(digest, data);
    if (act?.type === 'lose-answer') return void request.socket.resetAndDestroy();
    const status = act?.type === 'status' ? act.status : 201;
    const location = `/v2/${name}/blobs/${digest}`;
    response.writeHead(status, { location, 'docker-content-digest': digest, 'content-length': 0 }).end();
  }

  tell({ response }: Call, repository: FakeRepository, name: string, id: string): void {
    const session = repository.uploads.get(id);
    if (session === undefined) throw new Refused(404, 'BLOB_UPLOAD_UNKNOWN');
    const range = `0-${Math.max(0, session.data.length - 1)}`;
    response.writeHead(204, { location: this.#location(name, id, session.state), range }).end();
  }

  cancel({ response }: Call, repository: FakeRepository, id: string): void {
    if (!repository.uploads.delete(id)) throw new Refused(404, 'BLOB_UPLOAD_UNKNOWN');
    response.writeHead(204).end();
  }

  #beginUpload({ request, url }: Call, repository: FakeRepository, id: string, patched = false): UploadSession {
    const session = repository.uploads.get(id);
    if (session === undefined) throw new Refused(404, 'BLOB_UPLOAD_UNKNOWN');
    if (url.searchParams.get('_state') !== session.state)
      this.#registry.violations.push('the query of a Location was not kept');
    if (session.begun && !patched)
      this.#registry.violations.push(`${request.method} into a session that was used before`);
    session.begun = true;
    return session;
  }

  #checkRangedUpload({ headers }: IncomingMessage, size: number): void {
    if (headers['content-range'] === undefined || size <= this.#registry.traits.maxRangedUploadBytes) return;
    throw new Refused(416, 'UNKNOWN', 'exceeds the maximum permissible limit of 4.00MiB');
  }
}

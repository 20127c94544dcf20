/**
 * A strict registry in this process: the distribution specification v1.1.1 over node:http on loopback. Whatever a good
 * client never does is recorded in `violations`, and `close` fails with them.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { FakeAuth } from './fake-registry-auth.ts';
import { type FakeRegistryTraits, type Fault, type FaultAct, FaultQueue, PLAIN } from './fake-registry-faults.ts';
import { type Call, hostOf, listen, Refused, readBody, refuse, sendBlob, sendDocument } from './fake-registry-http.ts';
import { FakeRepository, fakeDigest } from './fake-registry-state.ts';
import { FakeUploads } from './fake-registry-uploads.ts';

export interface FakeRequest {
  readonly at: 'registry' | 'storage';
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly status: number;
  /** Identifies the connection. */
  readonly port: number | undefined;
}

const MANIFEST_TYPES =
  /^application\/vnd\.(oci\.image\.(manifest|index)\.v1|docker\.distribution\.manifest\.(list\.)?v2)\+json$/;
const ROUTE = /^\/v2\/([a-z0-9._/-]+)\/(blobs\/uploads|blobs|manifests|tags)(?:\/([^/]*))?$/;

export class FakeRegistry {
  readonly requests: FakeRequest[] = [];
  readonly violations: string[] = [];
  readonly repositories = new Map<string, FakeRepository>();
  readonly traits: FakeRegistryTraits;
  /** Highest number of requests under way at once. */
  peak = 0;
  /** What befalls requests that no injected fault is for. */
  luck: ((method: string, url: URL, range: string | undefined) => FaultAct | undefined) | undefined;
  readonly #faults = new FaultQueue();
  readonly #auth: FakeAuth;
  readonly #signatures = new Map<string, number>();
  readonly #uploads: FakeUploads;
  readonly #server: Server;
  readonly #storage: Server;
  #active = 0;

  private constructor(traits: FakeRegistryTraits) {
    this.traits = traits;
    this.#auth = new FakeAuth(traits);
    this.#uploads = new FakeUploads(this);
    this.#server = createServer((request, response) => void this.#serve('registry', request, response));
    this.#storage = createServer((request, response) => void this.#serve('storage', request, response));
  }

  static async start(traits: Partial<FakeRegistryTraits> = {}): Promise<FakeRegistry> {
    const registry = new FakeRegistry({ ...PLAIN, ...traits });
    await Promise.all([listen(registry.#server), listen(registry.#storage)]);
    return registry;
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return hostOf(this.#server);
  }

  get storageHost(): string {
    return hostOf(this.#storage);
  }

  repository(name: string): FakeRepository {
    const known = this.repositories.get(name);
    if (known !== undefined) return known;
    const fresh = new FakeRepository();
    this.repositories.set(name, fresh);
    return fresh;
  }

  inject(fault: Fault): void {
    this.#faults.add(fault);
  }

  /** No injected fault happens any more, nor bad luck. */
  calm(): void {
    this.#faults.clear();
    this.luck = undefined;
  }

  /** All that is stored; see FakeRepository.snapshot. */
  snapshot(): ReadonlyMap<string, string> {
    const all = [...this.repositories].flatMap(([name, repository]) =>
      [...repository.snapshot()].map(([key, value]) => [`${name} ${key}`, value] as const),
    );
    return new Map(all);
  }

  /** From now on anyone may read, as after a click on GHCR's package page. */
  makePublic(): void {
    this.#auth.isPublic = true;
  }

  /** Every token given out so far is refused from now on. */
  revokeTokens(): void {
    this.#auth.revoke();
  }

  /** Every signed URL given out so far has expired. */
  expireSignedUrls(): void {
    this.#signatures.clear();
  }

  count(method: string, path: RegExp = /./): number {
    return this.requests.filter((request) => request.method === method && path.test(request.path)).length;
  }

  async close(): Promise<void> {
    for (const server of [this.#server, this.#storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    if (this.violations.length > 0) throw new Error(`the client misbehaved:\n${this.violations.join('\n')}`);
  }

  async #serve(at: FakeRequest['at'], request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
    const act =
      this.#faults.take(at, request.method ?? '', url) ?? this.luck?.(request.method ?? '', url, request.headers.range);
    this.#active += 1;
    this.peak = Math.max(this.peak, this.#active);
    response.once('close', () => {
      this.#active -= 1;
      const { method = '', headers, socket } = request;
      const path = url.pathname + url.search;
      this.requests.push({ at, method, path, headers, status: response.statusCode, port: socket.remotePort });
    });
    try {
      if (this.traits.latencyMs > 0) await delay(this.traits.latencyMs);
      await this.#answer(at, { request, response, url, act });
    } catch (error) {
      if (error instanceof Refused) refuse(response, error);
      else if (!response.destroyed && !request.destroyed) {
        this.violations.push(`${request.method} ${request.url}: ${String(error)}`);
        response.writeHead(500).end();
      }
    }
  }

  async #answer(at: FakeRequest['at'], call: Call): Promise<void> {
    const { request, response, url, act } = call;
    if (act?.type === 'answer') {
      request.resume();
      response.writeHead(act.status, { 'content-type': 'application/json', ...act.headers }).end(act.body ?? '');
    } else if (act?.type === 'reset') {
      await readBody(request, act.bytes ?? 0);
      request.socket.resetAndDestroy();
    } else if (at === 'storage') {
      this.#serveStorage(call);
    } else {
      this.#checkManners(request, url);
      if (url.pathname === '/token') await this.#auth.serveToken(call);
      else await this.#serveApi(call);
    }
  }

  #checkManners({ method, headers, url: target }: IncomingMessage, url: URL): void {
    const say = (what: string): number => this.violations.push(`${method} ${target}: ${what}`);
    if (!headers['user-agent']?.startsWith('nixcache/')) say(`user agent ${headers['user-agent']}`);
    if (headers.expect !== undefined) say('sends Expect');
    if (headers['content-range'] !== undefined && method === 'PUT') say('sends Content-Range with a PUT');
    if (headers['transfer-encoding'] !== undefined && method !== 'PATCH') say('sends a body of unknown length');
    if (url.username !== '' || url.password !== '') say('sends credentials in the URL');
  }

  async #serveApi(call: Call): Promise<void> {
    const [, name, area, rest = ''] = ROUTE.exec(call.url.pathname) ?? [];
    const method = call.request.method ?? '';
    if (call.url.pathname === '/v2/' && method === 'GET') return this.#greet(call);
    if (name === undefined) return this.#unknown(call);
    this.#auth.authorize(call, name);
    const writes = method === 'POST' || method === 'PUT' || method === 'PATCH';
    const repository = writes ? this.repository(name) : this.repositories.get(name);
    if (this.traits.reapsAfterMs !== undefined) repository?.reap(this.traits.now(), this.traits.reapsAfterMs);
    if (repository === undefined) throw new Refused(404, 'NAME_UNKNOWN', 'repository name not known to registry');
    const route = `${method} ${area}`;
    if (route === 'GET tags' && rest === 'list') return this.#listTags(call, repository, name);
    if (route === 'HEAD blobs' || route === 'GET blobs') return this.#getBlob(call, repository, rest);
    if (route === 'POST blobs/uploads') return this.#uploads.open(call, repository, name);
    if (route === 'PATCH blobs/uploads') return this.#uploads.patch(call, repository, name, rest);
    if (route === 'PUT blobs/uploads') return this.#uploads.finish(call, repository, name, rest);
    if (route === 'GET blobs/uploads') return this.#uploads.tell(call, repository, name, rest);
    if (route === 'DELETE blobs/uploads') return this.#uploads.cancel(call, repository, rest);
    if (route === 'DELETE blobs') throw new Refused(405, 'UNSUPPORTED', 'The operation is unsupported.');
    if (route === 'HEAD manifests' || route === 'GET manifests') return this.#getManifest(call, repository, rest);
    if (route === 'PUT manifests') return this.#putManifest(call, repository, name, rest);
    if (route === 'DELETE manifests') return this.#deleteManifest(call, repository, rest);
    return this.#unknown(call);
  }

  /** spec.md#determining-support; whoever wants credentials says so here, whatever may be read without. */
  #greet({ request, response }: Call): void {
    if (request.headers.authorization !== undefined) this.violations.push('sends credentials that no one asked for');
    response.writeHead(this.traits.auth === 'none' ? 200 : 401, { 'content-type': 'application/json' }).end('{}');
  }

  #unknown({ request, response }: Call): void {
    this.violations.push(`${request.method} ${request.url} is not in the specification`);
    response.writeHead(404).end();
  }

  #listTags(call: Call, repository: FakeRepository, name: string): void {
    const { url } = call;
    const asked = Number(url.searchParams.get('n') ?? this.traits.maxPage);
    if (!Number.isSafeInteger(asked)) this.violations.push(`n=${url.searchParams.get('n')}`);
    const size = Math.min(asked, this.traits.maxPage);
    const { tags, more } = repository.page(this.traits.tagOrder, size, url.searchParams.get('last'));
    const next = new URLSearchParams({ n: String(size), last: tags.at(-1) ?? '' });
    const link = more ? { link: `</v2/${name}/tags/list?${next}>; rel="next"` } : {};
    sendDocument(call, { 'content-type': 'application/json', ...link }, Buffer.from(JSON.stringify({ name, tags })));
  }

  #getBlob(call: Call, repository: FakeRepository, digest: string): void {
    const bytes = repository.blobs.get(digest);
    if (bytes === undefined) throw new Refused(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    if (!this.traits.redirectBlobs) {
      sendBlob(call, bytes, digest);
      return;
    }
    const signature = randomUUID();
    this.#signatures.set(signature, this.traits.signedUrlUses);
    const location = `http://${this.storageHost}/blobs/${digest}?se=soon&sig=${signature}`;
    // Servers write a line for people into a redirect, and say its length to HEAD too.
    const line = `<a href="${location}">Temporary Redirect</a>.\n`;
    call.response.writeHead(307, { location, 'content-length': line.length });
    call.response.end(call.request.method === 'HEAD' ? undefined : line);
  }

  #serveStorage(call: Call): void {
    const { request, response, url } = call;
    if (request.headers.authorization !== undefined) this.violations.push('a credential reached the storage host');
    const digest = url.pathname.replace('/blobs/', '');
    const signature = url.searchParams.get('sig') ?? '';
    const left = this.#signatures.get(signature) ?? 0;
    if (left <= 0 || (this.traits.signsGetOnly && request.method !== 'GET')) {
      const body = '<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code></Error>';
      response.writeHead(403, { 'content-type': 'application/xml' }).end(body);
      return;
    }
    this.#signatures.set(signature, left - 1);
    const bytes = [...this.repositories.values()].map(({ blobs }) => blobs.get(digest)).find(Boolean);
    if (bytes === undefined) response.writeHead(404).end();
    else sendBlob(call, bytes, digest);
  }

  #getManifest(call: Call, repository: FakeRepository, reference: string): void {
    if (!call.request.headers.accept?.includes('vnd.oci.image.index'))
      this.violations.push('manifest without Accept of indexes');
    const digest = repository.find(reference);
    const manifest = repository.manifests.get(digest ?? '');
    if (digest === undefined || manifest === undefined) throw new Refused(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    sendDocument(call, { 'content-type': manifest.mediaType, 'docker-content-digest': digest }, manifest.bytes);
  }

  async #putManifest(call: Call, repository: FakeRepository, name: string, tag: string): Promise<void> {
    const { request, response, act } = call;
    const mediaType = request.headers['content-type'] ?? '';
    if (!MANIFEST_TYPES.test(mediaType)) this.violations.push(`manifest of type ${mediaType}`);
    const bytes = await readBody(request);
    if (bytes.length > 4 * 1024 * 1024) throw new Refused(413, 'SIZE_INVALID', 'manifest too large');
    const digest = fakeDigest(bytes);
    if (tag.startsWith('sha256:') && tag !== digest) throw new Refused(400, 'DIGEST_INVALID');
    const layers = JSON.parse(bytes.toString('utf8')).layers?.length ?? 0;
    if (layers > this.traits.maxLayers) throw new Refused(400, 'MANIFEST_INVALID', 'too many layers');
    const missing = repository.missingFor(bytes);
    if (missing.length > 0)
      throw new Refused(400, 'MANIFEST_BLOB_UNKNOWN', `blob unknown to registry: ${missing.join(', ')}`);
    repository.putManifest(tag, { mediaType, bytes }, this.traits.staleTagReads);
    if (act?.type === 'lose-answer') return void request.socket.resetAndDestroy();
    const location = `/v2/${name}/manifests/${digest}`;
    response.writeHead(201, { location, 'docker-content-digest': digest, 'content-length': 0 }).end();
  }

  #deleteManifest({ response }: Call, repository: FakeRepository, digest: string): void {
    if (!this.traits.deletes || !digest.startsWith('sha256:'))
      throw new Refused(405, 'UNSUPPORTED', 'The operation is unsupported.');
    if (!repository.deleteManifest(digest)) throw new Refused(404, 'MANIFEST_UNKNOWN', 'manifest unknown');
    response.writeHead(202, { 'content-length': 0 }).end();
  }
}

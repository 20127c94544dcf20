import type { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import { AdaptiveLimit } from '../../http/concurrency.ts';
import { type HttpFetch, isLoopbackHost } from '../../http/http-fetch.ts';
import { discardBody } from '../../http/redirects.ts';
import { Retrier, type RetrierOptions } from '../../http/retry.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import type {
  BlobTarget,
  Clocked,
  ContentStore,
  Deleter,
  OpenContent,
  PushOptions,
  PushResult,
  StoredManifest,
  WriteChecker,
} from '../content-store.ts';
import type { Descriptor } from '../descriptor.ts';
import type { Digest } from '../digest.ts';
import { IMAGE_MANIFEST } from '../manifest.ts';
import { formatReference } from '../reference.ts';
import { Authorizer } from './auth.ts';
import { fetchBlob } from './blob-fetch.ts';
import { checkWrite, pushBlob } from './blobs.ts';
import type { CredentialsProvider } from './credentials.ts';
import { hasBlob } from './has-blob.ts';
import { BlobLocations } from './locate-blob.ts';
import { deleteManifest, fetchManifest, pushManifest, resolveManifest } from './manifests.ts';
import { RegistryError } from './registry-error.ts';
import { apiHost, type RegistryKind, type RegistryKindName, registryKind } from './registry-kinds.ts';
import type { Scheme } from './scheme.ts';
import { listTags } from './tags.ts';
import { Transport } from './transport.ts';

export interface RemoteRepositoryOptions {
  /** Host name, with a port if need be. */
  readonly host: string;
  readonly repository: string;
  readonly http: HttpFetch;
  /** Default: https, but plain http for loopback. */
  readonly scheme?: Scheme | undefined;
  /** Overrides what the host name says. */
  readonly kind?: RegistryKindName | undefined;
  /** Default: anonymous. */
  readonly credentials?: CredentialsProvider | undefined;
  readonly retry?: RetrierOptions | undefined;
  /** Requests at once, of reads and of writes each, as long as the registry bears it; default 32. */
  readonly concurrency?: number | undefined;
  /** For a manifest or a page of tags, from its headers on; default 60 s. */
  readonly documentTimeoutMs?: number | undefined;
  /** Deletes where the registry's own API does not; for kind ghcr, GitHub's Packages API. */
  readonly deleter?: Deleter | undefined;
}

const DEFAULT_CONCURRENCY = 32;
/** 4 MiB at 70 kB a second. */
const DEFAULT_DOCUMENT_TIMEOUT_MS = 60_000;

/** A repository in an OCI registry. distribution-spec v1.1.1 */
export class RemoteRepository implements ContentStore, Clocked, Deleter, WriteChecker {
  readonly name: string;
  readonly kind: RegistryKind;
  readonly #transport: Transport;
  readonly #deleter: Deleter | undefined;
  readonly #locations: BlobLocations;

  constructor(options: RemoteRepositoryOptions) {
    const { host, repository, http, concurrency = DEFAULT_CONCURRENCY } = options;
    this.name = formatReference({ kind: 'registry', host, repository });
    this.kind = registryKind(host, options.kind);
    this.#deleter = options.deleter;
    const scheme = options.scheme ?? (isLoopbackHost(host) ? 'http' : 'https');
    const registry = new URL(`${scheme}://${apiHost(host)}/`);
    const retrier = new Retrier(options.retry);
    const { clock } = retrier;
    const { credentials = async () => undefined } = options;
    this.#transport = new Transport({
      ...{ name: this.name, http, registry, repository, kind: this.kind, retrier },
      authorizer: new Authorizer({
        ...{ http, registry, host, repository, kind: this.kind, credentials, now: () => clock.now() },
      }),
      documentTimeoutMs: options.documentTimeoutMs ?? DEFAULT_DOCUMENT_TIMEOUT_MS,
      limits: {
        read: new AdaptiveLimit({ max: concurrency, clock }),
        write: new AdaptiveLimit({ max: concurrency, clock }),
      },
    });
    this.#locations = new BlobLocations(this.#transport);
  }

  get maxLayers(): number {
    return this.kind.maxLayers;
  }

  get clockSkewMs(): number | undefined {
    return this.#transport.clock.skewMs;
  }

  /** Every answer tells it, and nothing is written before one has come. */
  async readClock(): Promise<void> {}

  fetchBlob(target: BlobTarget, options?: CallOptions & { readonly range?: ByteRange | undefined }): Promise<Readable> {
    return fetchBlob(this.#transport, target, options);
  }

  locateBlob(target: BlobTarget, options: CallOptions = {}): Promise<URL | undefined> {
    return this.#locations.locate(target, options);
  }

  hasBlob(target: BlobTarget, options?: CallOptions): Promise<boolean> {
    return hasBlob(this.#transport, target, options);
  }

  pushBlob(expected: Descriptor, open: OpenContent, options?: PushOptions): Promise<PushResult> {
    return pushBlob(this.#transport, expected, open, options);
  }

  fetchManifest(reference: string, options?: CallOptions): Promise<StoredManifest | undefined> {
    return fetchManifest(this.#transport, reference, options);
  }

  resolve(reference: string, options?: CallOptions): Promise<Descriptor | undefined> {
    return resolveManifest(this.#transport, reference, options);
  }

  pushManifest(tag: string, mediaType: string, bytes: Uint8Array, options?: CallOptions): Promise<Descriptor> {
    return pushManifest(this.#transport, tag, mediaType, bytes, options);
  }

  listTags(options?: CallOptions): Promise<string[]> {
    return listTags(this.#transport, options);
  }

  /** Whether the repository is there, if we may read it. @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN */
  probeRead(options?: CallOptions): Promise<'there' | 'absent'> {
    return probeRead(this.#transport, options);
  }

  /** Returns if we may write; nothing at all is written. @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN */
  probeWrite(options?: CallOptions): Promise<void> {
    return probeWrite(this.#transport, options);
  }

  checkWrite(options?: CallOptions): Promise<void> {
    return checkWrite(this.#transport, options);
  }

  async deleteManifest(digest: Digest, options?: CallOptions): Promise<'deleted' | 'absent'> {
    if (this.#deleter !== undefined) return this.#deleter.deleteManifest(digest, options);
    if (this.kind.deletes === 'distribution') return deleteManifest(this.#transport, digest, options);
    const how =
      this.kind.deletes === 'github-packages'
        ? 'this registry deletes through the GitHub Packages API only; `nixcache gc` uses it with a token that has delete:packages'
        : `registries of kind ${this.kind.name} delete through no API that nixcache speaks; use their web page`;
    throw new NixcacheError('ERR_UNSUPPORTED', `delete manifest ${digest} from ${this.name}: ${how}`);
  }
}

/**
 * Whether the repository is there, if we may read it: by the first page of its tags.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN when we may not; ERR_NETWORK and others
 */
async function probeRead(transport: Transport, { signal }: CallOptions = {}): Promise<'there' | 'absent'> {
  const url = transport.url('tags/list?n=1');
  try {
    const response = await transport.send({ method: 'GET', url, actions: 'pull', expect: [200], signal });
    await discardBody(response.body);
    return 'there';
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'ERR_NOT_FOUND') return 'absent';
    throw error;
  }
}

/** No manifest has this digest, and the bytes sent are no manifest: whoever may write is told so, and nothing is stored. */
const IMPOSSIBLE_DIGEST = `sha256:${'0'.repeat(64)}`;
/** What the specification has a registry say to bytes like that; any 400 without a code is taken for one. */
const REFUSALS_OF_CONTENT = [
  'MANIFEST_INVALID',
  'DIGEST_INVALID',
  'UNSUPPORTED',
  'MANIFEST_UNVERIFIED',
  'SIZE_INVALID',
];

/**
 * Returns if we may write: by offering a manifest that no registry can take. An upload would do too, but leaves a session
 * behind where registries do not cancel them, or, as distribution, leave pieces of it.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN when we may not; ERR_NOT_FOUND where the repository has to be
 *   created first; ERR_NETWORK and others when it cannot be told
 */
async function probeWrite(transport: Transport, { signal }: CallOptions = {}): Promise<void> {
  try {
    await transport.send({
      ...{ method: 'PUT', url: transport.url(`manifests/${IMPOSSIBLE_DIGEST}`), actions: 'pull,push', signal },
      headers: { 'content-type': IMAGE_MANIFEST },
      body: Buffer.from('{}'),
      expect: [],
    });
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status !== 400) throw error;
    if (error.errors.length > 0 && !error.has(...REFUSALS_OF_CONTENT)) throw error;
  }
}

/** All that a command needs opened: each part when it is first asked for, closed in reverse order on every path. */

import { openDirectoryIndex } from '../../cache/disk/directory-index.ts';
import { IndexReader, type IndexReaderOptions } from '../../cache/read/index-reader.ts';
import type { IndexStore } from '../../cache/read/index-store.ts';
import { bucketKeys } from '../../config/bucket-keys.ts';
import { type CacheSetting, ownIndexDirectory, resolveCache } from '../../config/cache-reference.ts';
import type { BasicCredentials } from '../../config/credentials.ts';
import { netrcLogins } from '../../config/netrc.ts';
import type { Sources } from '../../config/setting.ts';
import { modeOpenToOthers, readSigningKeys, type SigningKeySource } from '../../config/signing-keys.ts';
import { bearerAuthorization } from '../../config/token-file.ts';
import type { UpstreamSetting } from '../../config/upstreams.ts';
import { orWithoutHome } from '../../environment.ts';
import type { HttpFetch } from '../../http/http-fetch.ts';
import { HttpClient, type HttpClientOptions } from '../../http/node/client.ts';
import type { SecretKey } from '../../nix/signature.ts';
import type { ContentStore, Deleter, ReadOnlyStore, WriteChecker } from '../../oci/content-store.ts';
import type { Bucket, BucketKeys } from '../../upstream/bucket.ts';
import type { Patience } from '../../upstream/patience.ts';
import { Upstream } from '../../upstream/upstream.ts';
import { inOrder } from '../../upstream/upstream-cache.ts';
import type { Call } from '../command.ts';
import { type CommandContext, sourcesOf } from '../context.ts';
import type { Output } from '../ui/output.ts';
import { convertStore } from './convert-store.ts';
import { loadStore, type OpenStoreOptions, openLateStore, openStore, readCredentials } from './open-store.ts';
import { type Provenance, provenanceOf } from './provenance.ts';
import { storeClock } from './store-clock.ts';
import { tellingSilence, tellRetries, tellSilence } from './telling-waits.ts';

export interface SessionStoreOptions extends Partial<Omit<OpenStoreOptions, 'http'>> {
  /** Default: the cache that the command is about. */
  readonly cache?: CacheSetting | undefined;
}

type SessionReaderOptions = Omit<IndexReaderOptions, 'store' | 'index'>;

export class Session implements AsyncDisposable {
  readonly sources: Sources;
  readonly context: CommandContext;
  readonly provenance: Provenance;
  readonly onWarning: (message: string) => void;
  readonly #toldClocks = new WeakSet<ReadOnlyStore>();
  readonly #opened = new Opened();
  readonly #httpOptions: HttpClientOptions;
  #cache: CacheSetting | undefined;
  #http: HttpClient | undefined;
  readonly #proxied = new Map<string, HttpClient>();
  #credentials: Promise<BasicCredentials | undefined> | undefined;

  constructor(sources: Sources, context: CommandContext, httpOptions: HttpClientOptions = {}) {
    this.sources = sources;
    this.context = context;
    this.#httpOptions = httpOptions;
    this.provenance = provenanceOf(context.env);
    this.onWarning = (message) => context.output.warn(message);
  }

  /** Reads the config file, and reaches for nothing else yet. @throws {NixcacheError} ERR_USAGE */
  static async open({ flags, context }: Pick<Call, 'flags' | 'context'>, http?: HttpClientOptions): Promise<Session> {
    return new Session(await sourcesOf(flags, context), context, http);
  }

  /** @throws {NixcacheError} ERR_USAGE */
  get cache(): CacheSetting {
    this.#cache ??= resolveCache(this.sources);
    return this.#cache;
  }

  get http(): HttpClient {
    const { secrets } = this.context.output;
    this.#http ??= this.add(new HttpClient({ ...this.#httpOptions, secrets }), (client) => client.destroy());
    return this.#http;
  }

  /** What the user gave for the registry. Standard input is read at most once. @throws {NixcacheError} ERR_USAGE */
  credentials(): Promise<BasicCredentials | undefined> {
    this.#credentials ??= readCredentials(this.sources, this.context);
    return this.#credentials;
  }

  /** Loads what it takes to reach the cache, for who waits for something else meanwhile. @throws {NixcacheError} ERR_USAGE */
  async loadStore(): Promise<void> {
    const { reference } = this.cache;
    await Promise.all([loadStore(reference), reference.kind === 'layout' ? undefined : this.http.load()]);
  }

  /** The content store of a cache, as it is; a registry is not asked yet. @throws {NixcacheError} ERR_USAGE, ERR_INDEX, ERR_IO */
  async store(options: SessionStoreOptions = {}): Promise<ContentStore & Deleter & WriteChecker> {
    return openStore(options.cache ?? this.cache, this.context, await this.#storeOptions(options));
  }

  /** The same to be read: of a registry not even found out yet whether it speaks TLS. @throws {NixcacheError} ERR_USAGE, ERR_INDEX, ERR_IO */
  async lateStore(options: SessionStoreOptions = {}): Promise<ReadOnlyStore> {
    return openLateStore(options.cache ?? this.cache, this.context, await this.#storeOptions(options));
  }

  async #storeOptions(options: SessionStoreOptions): Promise<OpenStoreOptions> {
    const credentials = 'credentials' in options ? options.credentials : await this.credentials();
    return { create: false, ...options, ...{ http: this.http, credentials } };
  }

  /** A reader of the index in `store` for a command that writes there, unless it is a dry run; see `convertStore`. */
  async writersReader(
    store: ContentStore,
    { dryRun, ...options }: Omit<SessionReaderOptions, 'strict' | 'legacy'> & { readonly dryRun: boolean },
    cache?: CacheSetting,
  ): Promise<IndexReader> {
    const now = await this.clock(store);
    await convertStore(store, this.context, this.provenance, { dryRun, now });
    return this.reader(store, { ...options, strict: true, legacy: dryRun ? 'read' : undefined }, cache);
  }

  /** What time it is in `store`, which is said once where it is not ours. To be asked for anew after hours. */
  clock(store: ReadOnlyStore): Promise<() => Date> {
    return storeClock(store, { onWarning: this.onWarning, told: this.#toldClocks });
  }

  /** Where what is known of the index of a cache is kept on this machine; undefined where it cannot be kept. */
  async index(
    cache: CacheSetting = this.cache,
    onWarning?: (message: string) => void,
  ): Promise<IndexStore | undefined> {
    const directory = orWithoutHome(this.context.env, () => ownIndexDirectory(this.sources, cache.name));
    return directory === undefined ? undefined : openDirectoryIndex(directory, onWarning);
  }

  /** A reader of the index in `store`. */
  async reader(
    store: ContentStore,
    options: SessionReaderOptions,
    cache: CacheSetting = this.cache,
  ): Promise<IndexReader> {
    const asked = { onWarning: this.onWarning, ...options, store };
    const index = await this.index(cache, asked.onWarning);
    return this.add(await IndexReader.open({ ...asked, index }), (reader) => reader.close());
  }

  /** @throws {NixcacheError} ERR_KEY */
  async signingKeys(named: readonly SigningKeySource[]): Promise<readonly SecretKey[]> {
    for (const source of named) if ('text' in source) this.context.output.addSecret(source.text);
    const keys = await readSigningKeys(named, { signal: this.context.signal });
    for (const source of named) {
      const mode = 'file' in source ? await modeOpenToOthers(source.file) : undefined;
      if (mode === undefined || !('file' in source)) continue;
      this.onWarning(`the signing key ${source.file} can be read by others (mode ${mode}): chmod 600 ${source.file}`);
    }
    return keys;
  }

  /** In the order to ask them; with Nix's own logins for those that come without one. @throws {NixcacheError} ERR_USAGE */
  upstreams(settings: readonly UpstreamSetting[], options: Omit<OpenUpstreamsOptions, 'output'>): readonly Upstream[] {
    for (const { url, ignored = [] } of settings) {
      if (ignored.length === 0) continue;
      this.onWarning(
        `upstream ${url}: parameters that are ignored: ${ignored.join(', ')}; there are priority=NUMBER and trusted-public-key=NAME:BASE64`,
      );
    }
    const netrc = netrcLogins(this.context.env);
    const known = settings.map((setting) => {
      if (setting.bucket !== undefined) return { ...setting, bucketKeys: this.#bucketKeys(setting.bucket) };
      return {
        ...setting,
        authorization:
          (setting.username === undefined ? undefined : netrc(setting.url, setting)) ??
          setting.authorization ??
          bearerAuthorization(setting.tokenFile) ??
          netrc(setting.url),
        authorizationFor: (url: URL) => netrc(url.href, { byDefault: false }),
      };
    });
    const clients = { http: this.http, proxied: (proxy: string) => this.#proxiedBy(proxy) };
    return openUpstreams(known, clients, { output: this.context.output, ...options });
  }

  #bucketKeys(bucket: Bucket): BucketKeys | undefined {
    const keys = bucketKeys(bucket, this.context.env);
    this.context.output.addSecret(keys?.secretAccessKey);
    this.context.output.addSecret(keys?.sessionToken);
    return keys;
  }

  /** One for each proxy, however often a server reads its settings again. */
  #proxiedBy(proxy: string): HttpFetch {
    const secrets = this.context.output.secrets;
    const open = (): HttpClient => this.add(new HttpClient({ proxy, secrets }), (client) => client.destroy());
    const client = this.#proxied.get(proxy) ?? open();
    this.#proxied.set(proxy, client);
    return client;
  }

  /** Has `close` called with `resource` at the end. */
  add<T>(resource: T, close: (resource: T) => unknown): T {
    return this.#opened.add(resource, close);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened[Symbol.asyncDispose]();
  }
}

interface UpstreamClients {
  readonly http: HttpFetch;
  /** By the URL of the proxy. */
  proxied(proxy: string): HttpFetch;
}

interface OpenUpstreamsOptions {
  readonly patience: Patience;
  readonly storeDir?: string | undefined;
  readonly output: Output;
  /** Whether it is said that one keeps us waiting, for who looks on. */
  readonly tellsWaits?: boolean | undefined;
}

/** In the order to ask them: those without a proxy by `http`. */
export function openUpstreams(
  settings: readonly UpstreamSetting[],
  { http, proxied }: UpstreamClients,
  { output, tellsWaits = false, ...options }: OpenUpstreamsOptions,
): readonly Upstream[] {
  return inOrder(settings, ({ priority }) => priority).map((setting) => {
    const { proxy } = setting;
    output.addSecret(URL.parse(proxy ?? '')?.password);
    const client = proxy === undefined ? http : proxied(proxy);
    const telling = tellsWaits
      ? { http: tellingSilence(client, tellSilence(output)), onRetry: tellRetries(output) }
      : { http: client };
    return new Upstream(setting, { ...telling, ...options });
  });
}

/** What has been opened, closed in reverse order. AsyncDisposableStack would do, and Node 22 lacks it. */
class Opened implements AsyncDisposable {
  readonly #closers: (() => unknown)[] = [];

  /** `close` may return a promise. */
  add<T>(resource: T, close: (resource: T) => unknown): T {
    this.#closers.push(() => close(resource));
    return resource;
  }

  /** Takes over all that is open: closing this one does nothing any more. */
  move(): Opened {
    const taken = new Opened();
    taken.#closers.push(...this.#closers.splice(0));
    return taken;
  }

  /** Closes everything, even after one fails; the first failure is thrown at the end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

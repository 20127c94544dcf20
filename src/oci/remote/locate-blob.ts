/** Where a blob lies behind the registry, for others who are to fetch it there themselves. */
import type { CallOptions } from '../../call-options.ts';
import { discardBody, REDIRECTS } from '../../http/redirects.ts';
import type { BlobTarget } from '../content-store.ts';
import type { Transport } from './transport.ts';

/** A registry that gave a blob itself is not asked for so long where its blobs lie: each time it would begin to send one. */
const ASK_AGAIN_MS = 600_000;

export class BlobLocations {
  readonly #transport: Transport;
  #noneUntilMs = Number.NEGATIVE_INFINITY;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** As of BlobLocator. */
  async locate({ digest }: BlobTarget, { signal }: CallOptions): Promise<URL | undefined> {
    const transport = this.#transport;
    const nowMs = transport.retrier.clock.now();
    if (nowMs < this.#noneUntilMs) return undefined;
    const response = await transport.send({
      ...{ method: 'GET', url: transport.url(`blobs/${digest}`), actions: 'pull', signal },
      ...{ expect: [200, ...REDIRECTS], maxRedirects: 0, headers: { 'accept-encoding': 'identity' } },
    });
    if (!REDIRECTS.includes(response.status)) {
      response.body.destroy();
      this.#noneUntilMs = nowMs + ASK_AGAIN_MS;
      return undefined;
    }
    await discardBody(response.body);
    const found = transport.resolve(response.headers['location'] ?? '', response.url, `find where blob ${digest} lies`);
    return isForOthers(found, transport.url('')) ? found : undefined;
  }
}

/**
 * Whether `location` says all that is needed to fetch it: what is signed in its query is for whoever has the URL. On the
 * registry's own origin our token would be asked for, and a login in it would be ours.
 */
const isForOthers = (location: URL, registry: URL): boolean =>
  location.origin !== registry.origin && location.username === '' && location.password === '' && location.hash === '';

/**
 * Authorization for one repository: learns from the first 401 how the registry wants it, keeps one token per set of
 * actions until it is refused, and fetches it once however many requests wait for it.
 */
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { HttpError } from '../../http/http-error.ts';
import type { HttpFetch } from '../../http/http-fetch.ts';
import { abortable } from '../../http/network-error.ts';
import { type Challenge, parseChallenge } from './challenge.ts';
import type { Credentials, CredentialsProvider } from './credentials.ts';
import type { RegistryKind } from './registry-kinds.ts';
import { basicAuthorization, requestToken, type Token } from './token.ts';

/** What a token must allow, the lesser within the greater. */
export type Actions = 'pull' | 'pull,push' | 'pull,push,delete';

export interface AuthorizerOptions {
  readonly http: HttpFetch;
  /** Origin of the API. */
  readonly registry: URL;
  /** As the user writes it: the name credentials are kept under. */
  readonly host: string;
  readonly repository: string;
  readonly kind: RegistryKind;
  readonly credentials: CredentialsProvider;
  readonly now: () => number;
}

export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #tokens = new Map<Actions, Promise<Token>>();
  #challenge: Challenge | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /**
   * The `Authorization` for `actions`; undefined as long as the registry has not asked for one.
   *
   * @throws {NixcacheError} ERR_UNAUTHORIZED and others when the token server refuses
   */
  async authorization(actions: Actions, signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === 'basic') {
      const credentials = await abortable(this.#lookUp(), signal);
      return credentials?.type === 'basic' ? basicAuthorization(credentials) : undefined;
    }
    const { value } = await abortable(this.#token(actions), signal);
    return `Bearer ${value}`;
  }

  /**
   * After a 401 to a request that carried `refused`: learns from `header` (WWW-Authenticate) and forgets the refused
   * token. `held` when there is another that was fetched before and may have run out as well, `fresh` when it was
   * fetched just now; undefined when nothing better is to be had, so that the 401 stands.
   */
  async renew(
    actions: Actions,
    refused: string | undefined,
    header: string | readonly string[] | undefined,
    signal?: AbortSignal,
  ): Promise<'held' | 'fresh' | undefined> {
    const challenge = parseChallenge(header);
    if (challenge === undefined) return undefined;
    this.#challenge = challenge;
    // Whichever set of actions it was fetched for. Another request may have renewed it meanwhile: that one is new to us.
    for (const [held, pending] of this.#tokens) {
      const token = await pending.catch(() => undefined);
      if (refused === `Bearer ${token?.value}` && this.#tokens.get(held) === pending) this.#tokens.delete(held);
    }
    const isHeld =
      challenge.scheme === 'bearer' && (await this.#heldToken(actions).catch(() => undefined)) !== undefined;
    const next = await this.authorization(actions, signal);
    if (next === undefined || next === refused) return undefined;
    return isHeld ? 'held' : 'fresh';
  }

  /** Shared by all that wait: so no one's signal ends it, only its own deadlines. */
  async #token(actions: Actions): Promise<Token> {
    const held = await this.#heldToken(actions);
    if (held !== undefined) return held;
    let pending = this.#tokens.get(actions);
    if (pending === undefined) {
      pending = this.#fetchToken(actions);
      this.#tokens.set(actions, pending);
      const forget = (): void => {
        if (this.#tokens.get(actions) === pending) this.#tokens.delete(actions);
      };
      pending.catch(forget);
    }
    return pending;
  }

  /** A token for these or more actions that has not run out. */
  async #heldToken(actions: Actions): Promise<Token | undefined> {
    for (const [held, pending] of this.#tokens) {
      if (!held.startsWith(actions)) continue;
      const token = held === actions ? await pending : await pending.catch(() => undefined);
      if (token === undefined) continue;
      // Ten seconds: a request under way must not outlive it before it arrives.
      if (token.expiresAt === undefined || token.expiresAt - 10_000 > this.#options.now()) return token;
      if (this.#tokens.get(held) === pending) this.#tokens.delete(held);
    }
    return undefined;
  }

  async #fetchToken(actions: Actions): Promise<Token> {
    const { http, registry, repository, kind, now } = this.#options;
    const challenge = this.#challenge;
    if (challenge?.scheme !== 'bearer') throw new NixcacheError('ERR_REGISTRY', `${registry.host} wants no token`);
    const credentials = await this.#lookUp();
    if (credentials?.type === 'registry-token') return { value: credentials.token, expiresAt: undefined };
    const scope = `repository:${repository}:${actions}`;
    const request = { http, registry, kind, challenge, scope, now };
    try {
      return await requestToken({ ...request, credentials });
    } catch (error) {
      // Credentials that may not read can stand in the way of a public package: then ask as no one.
      const refused = error instanceof HttpError && isNixcacheError(error, 'ERR_UNAUTHORIZED', 'ERR_FORBIDDEN');
      if (!refused || credentials === undefined || actions !== 'pull') throw error;
      return requestToken({ ...request, credentials: undefined }).catch(() => {
        throw error;
      });
    }
  }

  /** Once: files and helpers do not change while we run, and a helper may ask the user. */
  #lookUp(): Promise<Credentials | undefined> {
    const { host, repository } = this.#options;
    if (this.#credentials === undefined) {
      const pending = this.#options.credentials({ host, repository });
      this.#credentials = pending;
      pending.catch(() => {
        if (this.#credentials === pending) this.#credentials = undefined;
      });
    }
    return this.#credentials;
  }
}

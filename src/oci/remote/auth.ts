/**
 * Authorization for one repository: learns from the first 401 how the registry wants it, keeps one token per set of
 * actions until it is refused, and fetches it once however many requests wait for it.
 */
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { basicAuthorization } from '../../http/basic-authorization.ts';
import { HttpError } from '../../http/http-error.ts';
import type { HttpFetch } from '../../http/http-fetch.ts';
import { SharedWork } from '../../shared-work.ts';
import { type Challenge, parseChallenge } from './challenge.ts';
import type { Credentials, CredentialsProvider } from './credentials.ts';
import type { RegistryKind } from './registry-kinds.ts';
import { requestToken, type Token } from './token.ts';

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
  readonly #tokens = new Map<Actions, Token>();
  readonly #fetching = new Map<Actions, SharedWork<Token>>();
  /** Once: files and helpers do not change while we run, and a helper may ask the user. */
  readonly #credentials: SharedWork<Credentials | undefined>;
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    const { host, repository } = options;
    const lookUp = (signal: AbortSignal) => options.credentials({ host, repository, signal });
    this.#credentials = new SharedWork(lookUp, { keeps: true });
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
      const credentials = await this.#credentials.join({ signal });
      return credentials?.type === 'basic' ? basicAuthorization(credentials) : undefined;
    }
    const { value } = await this.#token(actions, signal);
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
    for (const [held, token] of this.#tokens) {
      if (refused === `Bearer ${token.value}`) this.#tokens.delete(held);
    }
    const isBearer = challenge.scheme === 'bearer';
    const isHeld = isBearer && (this.#heldToken(actions) ?? this.#underWay(actions)[0]) !== undefined;
    const next = await this.authorization(actions, signal);
    if (next === undefined || next === refused) return undefined;
    return isHeld ? 'held' : 'fresh';
  }

  /** One that is held, or that others are waiting for; else a new one. */
  async #token(actions: Actions, signal: AbortSignal | undefined): Promise<Token> {
    const held = this.#heldToken(actions);
    if (held !== undefined) return held;
    const own = this.#fetchingOf(actions);
    for (const fetching of this.#underWay(actions)) {
      if (fetching === own) break;
      const token = await fetching.join({ signal }).catch(() => undefined);
      if (token !== undefined) return token;
    }
    return own.join({ signal });
  }

  /** What is under way for these or more actions. */
  #underWay(actions: Actions): SharedWork<Token>[] {
    return [...this.#fetching]
      .filter(([held, { isUnderWay }]) => held.startsWith(actions) && isUnderWay)
      .map(([, fetching]) => fetching);
  }

  /** A token for these or more actions that has not run out. */
  #heldToken(actions: Actions): Token | undefined {
    for (const [held, token] of this.#tokens) {
      if (!held.startsWith(actions)) continue;
      // Ten seconds: a request under way must not outlive it before it arrives.
      if (token.expiresAt === undefined || token.expiresAt - 10_000 > this.#options.now()) return token;
      this.#tokens.delete(held);
    }
    return undefined;
  }

  #fetchingOf(actions: Actions): SharedWork<Token> {
    const known = this.#fetching.get(actions);
    if (known !== undefined) return known;
    const fetching = new SharedWork(async (signal) => {
      const token = await this.#fetchToken(actions, signal);
      this.#tokens.set(actions, token);
      return token;
    });
    this.#fetching.set(actions, fetching);
    return fetching;
  }

  async #fetchToken(actions: Actions, signal: AbortSignal): Promise<Token> {
    const { http, registry, repository, kind, now } = this.#options;
    const challenge = this.#challenge;
    if (challenge?.scheme !== 'bearer') throw new NixcacheError('ERR_REGISTRY', `${registry.host} wants no token`);
    const credentials = await this.#credentials.join({ signal });
    if (credentials?.type === 'registry-token') return { value: credentials.token, expiresAt: undefined };
    const scope = `repository:${repository}:${actions}`;
    const request = { http, registry, kind, challenge, scope, now, signal };
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
}

/** Asks a registry's token server for a token. distribution/distribution:docs/content/spec/auth/{token,oauth}.md */
import * as z from 'zod/mini';
import { boundedJsonOf } from '../../bounded-json.ts';
import { NixcacheError } from '../../errors.ts';
import { basicAuthorization } from '../../http/basic-authorization.ts';
import type { HttpFetch, HttpResponse } from '../../http/http-fetch.ts';
import { describeRequest, isLoopbackHost, redactUrl } from '../../http/http-fetch.ts';
import { readBounded } from '../../streams/verify.ts';
import type { BearerChallenge } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { readRegistryError } from './registry-error.ts';
import type { RegistryKind } from './registry-kinds.ts';

export interface TokenRequest {
  readonly http: HttpFetch;
  /** The registry itself. */
  readonly registry: URL;
  readonly kind: RegistryKind;
  readonly challenge: BearerChallenge;
  /** `repository:NAME:pull,push` */
  readonly scope: string;
  readonly credentials: Credentials | undefined;
  readonly now: () => number;
  readonly signal: AbortSignal;
}

export interface Token {
  readonly value: string;
  /** Milliseconds since the epoch; undefined when the server does not say: then it is good until it is refused. */
  readonly expiresAt: number | undefined;
}

const tokenSchema = z.object({
  token: z.optional(z.string()),
  access_token: z.optional(z.string()),
  expires_in: z.optional(z.number()),
});

/** @throws {NixcacheError} what readRegistryError makes of a refusal; ERR_REGISTRY when the answer is no token */
export async function requestToken(request: TokenRequest): Promise<Token> {
  const { http, challenge, scope, credentials, kind, now, signal } = request;
  const realm = parseRealm(challenge.realm, request.registry);
  const service = challenge.service === undefined ? {} : { service: challenge.service };
  let response: HttpResponse;
  let method: 'GET' | 'POST' = 'GET';
  if (credentials?.type === 'identity-token') {
    method = 'POST';
    const form = {
      grant_type: 'refresh_token',
      client_id: 'nixcache',
      ...service,
      scope,
      refresh_token: credentials.token,
    };
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = Buffer.from(new URLSearchParams(form).toString());
    response = await http.request({ method, url: realm, headers, body, timeoutMs: TIMEOUT_MS, signal });
  } else {
    const url = new URL(realm);
    for (const [name, value] of Object.entries({ ...service, scope })) url.searchParams.set(name, value);
    const headers = credentials?.type === 'basic' ? { authorization: basicAuthorization(credentials) } : {};
    response = await http.request({ method, url, headers, timeoutMs: TIMEOUT_MS, signal });
  }
  if (response.status !== 200)
    throw await readRegistryError(response, { method, kind, origin: realm.origin, now: now() });
  const text = await readBounded(response.body, MAX_TOKEN_BYTES, `the token for ${scope} from ${realm.host}`);
  const parsed = tokenSchema.safeParse(boundedJsonOf(text.toString('utf8')));
  const value = parsed.data?.token || parsed.data?.access_token;
  if (!value) {
    const { url, asked } = response;
    throw new NixcacheError('ERR_REGISTRY', `${describeRequest({ method, url, asked })}: the answer holds no token`);
  }
  const lifetime = parsed.data?.expires_in;
  return { value, expiresAt: lifetime === undefined ? undefined : now() + lifetime * 1000 };
}

const TIMEOUT_MS = 30_000;

/** 64 KiB: tokens are some KiB; an endless answer must not fill the memory. */
const MAX_TOKEN_BYTES = 64 * 1024;

/** Our secret goes there: so only over TLS, unless the registry itself is without. */
function parseRealm(text: string, registry: URL): URL {
  const realm = URL.canParse(text) ? new URL(text) : undefined;
  const allowed =
    realm?.protocol === 'https:' ||
    (realm?.protocol === 'http:' && registry.protocol === 'http:' && isSafePlainRealm(realm, registry));
  if (realm !== undefined && allowed) return realm;
  const what = realm === undefined ? 'no URL' : redactUrl(realm);
  throw new NixcacheError('ERR_REGISTRY', `${registry.host} sends us to ${what} for a token: not https, refused`);
}

const isSafePlainRealm = (realm: URL, registry: URL): boolean =>
  realm.hostname === registry.hostname || isLoopbackHost(realm.hostname) || !isLoopbackHost(registry.hostname);

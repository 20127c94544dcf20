/** Which binary cache an upstream is, as the user names it. */
import { NixcacheError } from '../errors.ts';
import { basicAuthorization } from '../http/basic-authorization.ts';
import { type PublicKey, parsePublicKey } from '../nix/signature.ts';
import { type Bucket, type BucketKeys, isBucketUrl, locateBucket } from './bucket.ts';

export interface UpstreamCache {
  /** `https://…`, `http://…` or `file:///…`, without credentials, query and final slash. */
  readonly url: string;
  /** Value of the Authorization header; a secret. */
  readonly authorization?: string | undefined;
  /** Of a URL that names a user and no password: that may be in a netrc file. */
  readonly username?: string | undefined;
  /** The header for another host that the cache leads to, where the user has a login for that; a secret. */
  readonly authorizationFor?: ((url: URL) => string | undefined) | undefined;
  /** Of a cache in a bucket; its `url` is then where that is. */
  readonly bucket?: Bucket | undefined;
  /** That requests to the bucket are signed with; secrets. Without them it is read as everyone may. */
  readonly bucketKeys?: BucketKeys | undefined;
  /** Keys that this cache signs with. */
  readonly publicKeys: readonly PublicKey[];
  /** Lower is asked first; undefined: what the cache says of itself, or 40. */
  readonly priority?: number | undefined;
  /** For one request: until its headers, and for a narinfo until its end. */
  readonly timeoutMs: number;
  /** Parameters in the URL that mean nothing here, by name: `compression`, `trusted` and others of Nix's. */
  readonly ignored?: readonly string[] | undefined;
}

/**
 * A healthy cache answers in well under a second, one that first asks another or starts from cold in some seconds. Nix waits
 * for an answer without end; that there is no connection at all shows earlier.
 */
export const DEFAULT_TIMEOUT_MS = 15_000;

/** Keys of caches that everyone uses, so that naming the URL is enough. Source: NixOS/nix globals.hh. */
const KNOWN_KEYS: ReadonlyMap<string, string> = new Map([
  ['https://cache.nixos.org', 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY='],
]);

export const CACHE_NIXOS_ORG = 'https://cache.nixos.org';

const PROTOCOLS: ReadonlySet<string> = new Set(['https:', 'http:', 'file:']);

/**
 * Parses `https://[user:password@]host/path[?priority=10&trusted-public-key=name:base64]`; the key may be given again. A URL
 * that is a substituter for Nix is an upstream here: Nix only warns of a parameter that it does not know.
 *
 * @throws {NixcacheError} ERR_USAGE, ERR_KEY; no message repeats a password
 */
export function parseUpstream(text: string): UpstreamCache {
  if (!URL.canParse(text)) {
    const named = /^[\w./:-]{1,200}$/.test(text) ? `'${text}'` : 'an upstream'; // with a user name there may be a password
    throw new NixcacheError('ERR_USAGE', `${named} is not a URL; write it like https://cache.nixos.org`);
  }
  const named = new URL(text);
  const { url, bucket } = isBucketUrl(named) ? locateBucket(named) : { url: named, bucket: undefined };
  const name = `${url.protocol}//${url.host}${url.pathname}`;
  if (!PROTOCOLS.has(url.protocol)) {
    throw new NixcacheError('ERR_USAGE', `upstream ${name}: use https://, http://, file://, s3:// or gs://`);
  }
  const { priority, publicKeys, ignored } = parseParameters(url.search, name);
  const plain = name.replace(/\/+$/, '');
  const known = KNOWN_KEYS.get(plain);
  const keys = publicKeys.length === 0 && known !== undefined ? [known] : publicKeys;
  return {
    url: plain,
    authorization: authorizationIn(url),
    username: url.username === '' || url.password !== '' ? undefined : decode(url.username, name),
    bucket,
    publicKeys: keys.map(parsePublicKey),
    priority,
    timeoutMs: DEFAULT_TIMEOUT_MS,
    ignored,
  };
}

/** The 40 that cache.nixos.org gives itself. */
const USUAL_PRIORITY = 40;

/**
 * In the order to ask: by priority, lower first, and as given where that is equal. What a cache says of itself counts where
 * the user says nothing.
 */
export const inOrder = <T>(caches: readonly T[], priorityOf: (cache: T) => number | undefined): T[] =>
  caches.toSorted((a, b) => (priorityOf(a) ?? USUAL_PRIORITY) - (priorityOf(b) ?? USUAL_PRIORITY));

function parseParameters(
  search: string,
  name: string,
): { priority: number | undefined; publicKeys: string[]; ignored: string[] } {
  let priority: number | undefined;
  const publicKeys: string[] = [];
  const ignored = new Set<string>();
  for (const pair of search.slice(1).split('&')) {
    if (pair === '') continue;
    const [key = '', ...rest] = pair.split('=');
    const value = decode(rest.join('='), name); // not URLSearchParams: it reads the + of base64 as a space
    if (key === 'priority') {
      if (!/^-?[0-9]{1,6}$/.test(value)) {
        throw new NixcacheError('ERR_USAGE', `upstream ${name}: 'priority' must be a whole number, like priority=10`);
      }
      priority = Number(value);
    } else if (key === 'trusted-public-key') publicKeys.push(value);
    // A name alone is shown: what has none of Nix's form may be a secret.
    else ignored.add(/^[a-z][a-z-]{0,40}$/.test(key) && rest.length > 0 ? key : 'one that is no NAME=VALUE');
  }
  return { priority, publicKeys, ignored: [...ignored] };
}

function authorizationIn(url: URL): string | undefined {
  if (url.username === '' && url.password === '') return undefined;
  const name = `${url.protocol}//${url.host}`;
  return basicAuthorization({ username: decode(url.username, name), password: decode(url.password, name) });
}

function decode(text: string, name: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `upstream ${name}: a '%' is not followed by two hexadecimal digits`, {
      cause,
    });
  }
}

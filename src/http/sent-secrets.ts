/** What of a request is secret: whoever gets it may repeat it in an answer, which messages quote. */
import type { Exchange } from './redirects.ts';

/**
 * `lasting` is a credential, in the form in which it is sent and as what that form holds; `passing` the signature of one
 * URL, of which a long run sees many. The first `publicLength` characters are no secret.
 */
export type OnSecret = (secret: string, kind: 'lasting' | 'passing', publicLength?: number) => void;

/** Hears of every secret before it is sent, and takes them out of what was answered. */
export interface SecretKeeper {
  readonly onSecret: OnSecret;
  readonly withoutSecrets: (text: string) => string;
}

const HEADERS = ['authorization', 'proxy-authorization', 'cookie', 'x-amz-security-token'];
const FIELDS = ['refresh_token', 'password', 'access_token', 'client_secret'];
/** Of S3, CloudFront, Google, Azure, and of registries whose upload URLs hold what they know of the upload. */
const SIGNED = /signature|credential|token|secret|^sig$|^_?state$|^policy$/i;

/** Tells `onSecret` of all that is secret in `exchange`. */
export function tellSecrets({ url, headers, body }: Exchange, onSecret: OnSecret): void {
  for (const [name, value] of Object.entries(headers)) {
    if (HEADERS.includes(name.toLowerCase())) tellHeader(value, onSecret);
  }
  for (const [name, value] of url.searchParams) if (SIGNED.test(name)) onSecret(value, 'passing');
  if (!(body instanceof Uint8Array) || headers['content-type'] !== 'application/x-www-form-urlencoded') return;
  const form = new URLSearchParams(Buffer.from(body).toString('utf8'));
  for (const name of FIELDS) for (const value of form.getAll(name)) onSecret(value, 'lasting');
}

/** Of one request, as AWS has it: the key itself is not sent. */
const SIGNING = /^AWS4-/i;

function tellHeader(value: string, onSecret: OnSecret): void {
  const [, scheme = '', credentials = value] = /^([\w-]+) +(\S.*)$/.exec(value) ?? [];
  if (SIGNING.test(scheme)) {
    const [, signature] = /\bSignature=(\w+)/.exec(credentials) ?? [];
    if (signature !== undefined) onSecret(signature, 'passing');
    return;
  }
  if (scheme.toLowerCase() !== 'basic') {
    onSecret(credentials, 'lasting');
    return;
  }
  const pair = Buffer.from(credentials, 'base64').toString('utf8');
  const user = pair.slice(0, pair.indexOf(':') + 1);
  onSecret(credentials, 'lasting', Math.ceil((Buffer.byteLength(user) * 4) / 3));
  onSecret(pair, 'lasting', user.length);
  onSecret(pair.slice(user.length), 'lasting');
}

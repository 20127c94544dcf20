/** Texts that must never be shown, and their removal from whatever is written. */

const MASK = '***';
/** Shorter ones would blot out ordinary words, and protect nobody. */
const MIN_LENGTH = 4;
/** The same, of what may be part of a digest or a store path. */
const MIN_BASE64_LENGTH = 8;

/** Signatures of URLs that are remembered: an error quotes one of those that are under way. */
const MAX_PASSING = 256;
/** So much of a long secret is blotted out with what follows it: a quotation may be cut short. */
const CUT_LENGTH = 16;

export class Secrets {
  readonly #known = new Set<string>();
  readonly #forms = new Set<string>();
  readonly #passing = new Set<string>();
  #sorted: readonly string[] | undefined;

  /** Learns a secret in every form in which it may turn up; a key `name:base64` without its name, which is public. */
  add(secret: string | undefined): void {
    const text = secret?.trim() ?? '';
    if (this.#known.has(text)) return;
    this.#known.add(text);
    this.#sorted = undefined;
    const parts = [text, ...(/^[^\s:]+:[A-Za-z0-9+/=\s]{40,}$/.test(text) ? [text.slice(text.indexOf(':') + 1)] : [])];
    for (const part of parts.flatMap((each) => [each, ...each.split('\n').map((line) => line.trim())])) {
      if (part.length < MIN_LENGTH) continue;
      for (const form of formsOf(part)) this.#forms.add(form);
    }
  }

  /** Learns one that is soon replaced, as the signature of a URL is: the oldest are forgotten. */
  addPassing(secret: string): void {
    if (secret.length < CUT_LENGTH) return;
    this.#sorted = undefined;
    this.#passing.delete(secret);
    this.#passing.add(secret);
    for (const oldest of this.#passing) {
      if (this.#passing.size <= MAX_PASSING) break;
      this.#passing.delete(oldest);
    }
  }

  redact(text: string): string {
    let shown = redactUrls(text);
    // The longest first: one secret may hold another.
    const passing = [...this.#passing].flatMap((each) => [each, encodeURIComponent(each)]);
    this.#sorted ??= [...this.#forms, ...passing].sort((a, b) => b.length - a.length);
    for (const form of this.#sorted) {
      shown = shown.replaceAll(form, MASK);
      if (form.length >= 2 * CUT_LENGTH) shown = withoutCut(shown, form.slice(0, CUT_LENGTH));
    }
    return shown;
  }
}

/** `text` without words that begin like a secret. */
function withoutCut(text: string, start: string): string {
  let shown = text;
  for (let at = shown.indexOf(start); at >= 0; at = shown.indexOf(start, at + MASK.length)) {
    const [rest = ''] = /^[\w+/=.~%-]*/.exec(shown.slice(at + start.length)) ?? [];
    shown = shown.slice(0, at) + MASK + shown.slice(at + start.length + rest.length);
  }
  return shown;
}

/** As it is, in URLs, in JSON, and within base64 of either alphabet, whatever stands before it: `user:` of a login. */
function formsOf(secret: string): readonly string[] {
  const percent = encodeURIComponent(secret);
  const lower = percent.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
  const encoded = [0, 1, 2].flatMap((offset) => inBase64(secret, offset));
  const plain = [secret, percent, lower, percent.replaceAll('%20', '+'), JSON.stringify(secret).slice(1, -1)];
  return [...plain, ...encoded.flatMap((form) => [form, encodeURIComponent(form)])];
}

/** Those characters of the base64 of `secret` after `offset` other bytes that depend on it alone. */
function inBase64(secret: string, offset: number): readonly string[] {
  const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)]);
  const start = Math.ceil((offset * 8) / 6);
  const end = Math.floor((bytes.length * 8) / 6);
  if (end - start < MIN_BASE64_LENGTH) return [];
  return (['base64', 'base64url'] as const).map((alphabet) => bytes.toString(alphabet).slice(start, end));
}

/**
 * `text` with the secrets of all URLs in it blotted out, also of those that are no URLs (`http://me:a/b@host`): user and
 * password before a host, and the values of parameters that are called like a secret.
 */
export const redactUrls = (text: string): string =>
  text
    .replaceAll(USERINFO, (whole, start: string, userinfo: string) =>
      isLogin(start, userinfo) ? whole : `${start}${MASK}@`,
    )
    .replaceAll(PARAMETER, (_, start: string) => `${start}${MASK}`);

/** What `redactUrls` would blot out of `text`, where it is a password or the value of a parameter. */
export const secretsInUrls = (text: string): readonly string[] => [
  ...[...text.matchAll(USERINFO)].flatMap(([, start = '', userinfo = '']) =>
    isLogin(start, userinfo) ? [] : userinfo.slice(userinfo.indexOf(':') + 1),
  ),
  ...[...text.matchAll(PARAMETER)].map(([, , value = '']) => value),
];

/** A port is no password: `http://host:80/@scope` has neither. */
const USERINFO =
  /\b([a-z][a-z0-9+.-]{0,31}:\/\/)([^\s/?#@'"<>]{0,4096}(?=@)|[^\s/?#@:'"<>]{0,256}:(?!\d{1,5}[/?#])[^\s@'"<>]{0,4096})@(?:[^\s/?#@'"<>]{0,256}@)*/gi;
/** ssh's user names are no secrets; elsewhere a name alone may be a token. */
const isLogin = (start: string, userinfo: string): boolean => /ssh:\/\/$/i.test(start) && !userinfo.includes(':');
const PARAMETER =
  /([?&](?:[\w.-]{0,64}(?:token|secret|password|passwd|signature|credential|api[_-]?key|access[_-]?key)[\w.-]{0,64}|sig|auth|key|pw|pass)=)([^\s&#'"<>]*[^\s&#'"<>:,;.])/gi;

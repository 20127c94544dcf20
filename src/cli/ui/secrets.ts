/** Texts that must never be shown, and their removal from whatever is written. */

const MASK = '***';
/** Shorter ones would blot out ordinary words, and protect nobody. */
const MIN_LENGTH = 4;

export class Secrets {
  readonly #forms = new Set<string>();

  /** Learns a secret in every form in which it may turn up; a key `name:base64` without its name, which is public. */
  add(secret: string | undefined): void {
    const text = secret?.trim() ?? '';
    const parts = [text, ...(/^[^\s:]+:[A-Za-z0-9+/=\s]{40,}$/.test(text) ? [text.slice(text.indexOf(':') + 1)] : [])];
    for (const part of parts.flatMap((each) => [each, ...each.split('\n').map((line) => line.trim())])) {
      if (part.length < MIN_LENGTH) continue;
      for (const form of [part, encodeURIComponent(part), JSON.stringify(part).slice(1, -1)]) this.#forms.add(form);
    }
  }

  redact(text: string): string {
    let shown = redactUrls(text);
    // The longest first: one secret may hold another.
    for (const form of [...this.#forms].sort((a, b) => b.length - a.length)) shown = shown.replaceAll(form, MASK);
    return shown;
  }
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

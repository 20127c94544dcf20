/**
 * What of a URL, or of what was meant to be one, is secret: the one definition of it, for what is shown and for what is taken
 * out of the environment. Imported by all, like environment.ts.
 */

export const MASK = '***';

/**
 * `text` with the secrets of all URLs in it blotted out, also of those that are no URLs (`http://me:a/b@host`): user and
 * password before a host, and the values of parameters that are called like a secret.
 */
export const redactUrls = (text: string): string =>
  text
    .replaceAll(USERINFO, (whole, start: string, userinfo: string) =>
      isNoSecret(start, userinfo) ? whole : `${start}${MASK}@`,
    )
    .replaceAll(PARAMETER, (_, start: string) => `${start}${MASK}`);

/** What `redactUrls` would blot out of `text`, where it is a password or the value of a parameter. */
export const secretsInUrls = (text: string): readonly string[] => [
  ...[...text.matchAll(USERINFO)].flatMap(([, start = '', userinfo = '']) =>
    isNoSecret(start, userinfo) ? [] : userinfo.slice(userinfo.indexOf(':') + 1),
  ),
  ...[...text.matchAll(PARAMETER)].map(([, , value = '']) => value),
];

/** A port is no password: `http://host:80/@scope` has neither. */
const USERINFO =
  /\b([a-z][a-z0-9+.-]{0,31}:\/\/)([^\s/?#@'"<>]{0,4096}(?=@)|[^\s/?#@:'"<>]{0,256}:(?!\d{1,5}[/?#])[^\s@'"<>]{0,4096})@(?:[^\s/?#@'"<>]{0,256}@)*/gi;
/** ssh's user names are no secrets; elsewhere a name alone may be a token. */
const isNoSecret = (start: string, userinfo: string): boolean => /ssh:\/\/$/i.test(start) && !userinfo.includes(':');
const PARAMETER =
  /([?&](?:[\w.-]{0,64}(?:token|secret|password|passwd|signature|credential|api[_-]?key|access[_-]?key)[\w.-]{0,64}|sig|auth|key|pw|pass)=)([^\s&#'"<>]*[^\s&#'"<>:,;.])/gi;

/** Whether `text` has anything that `redactUrls` blots out. */
export const hasUrlSecret = (text: string): boolean => redactUrls(text) !== text;

/** Schemes that may be written without the slashes behind them, so that what follows is no password. */
const SCHEME =
  /^(?:(?:git|hg|tarball|file|path|github|gitlab|sourcehut|flake|indirect|oci|docker|s3|gs|ssh|ftp|https?|socks(?:4a?|5h?)?)(?:\+[a-z]+)?|[a-z][a-z0-9+.-]*(?=:\/)):\/{0,2}/i;
const LOGIN = /^[^\s/:@]{0,256}:(?!\d{1,5}[/?#])([^\s@]{1,4096})@(?!sha(?:256|512):)/;

/**
 * The password in one word, of an argument or a setting, which is no URL for want of a scheme or of its slashes:
 * `me:PW@host`, `http:/me:PW@host`. Undefined when there is none.
 */
function passwordIn(word: string): string | undefined {
  const value = word.replace(/^--?[\w-]+=/, '');
  const scheme = SCHEME.exec(value)?.[0] ?? '';
  return LOGIN.exec(value.slice(scheme.length))?.[1];
}

/** All that is secret in an argument, or in a variable that holds references to caches, proxies or flakes. */
export const secretsIn = (text: string): readonly string[] => [
  ...secretsInUrls(text),
  ...text.split(/\s+/).flatMap((word) => passwordIn(word) ?? []),
];

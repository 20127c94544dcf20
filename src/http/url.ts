/** What may be said about a URL, and to whom it belongs. */

/** Query parameters whose values are no secrets; every other value is left out of messages and logs. */
const PLAIN_PARAMETERS: ReadonlySet<string> = new Set(['digest', 'n', 'last', 'service', 'scope', 'mount', 'from']);

/** `url` without user name, password, fragment and the values of unknown query parameters (signed URLs carry keys). */
export function redactUrl(url: string | URL): string {
  const { protocol, host, pathname, searchParams } = new URL(url);
  const query = [...searchParams].map(([name, value]) => `${name}=${PLAIN_PARAMETERS.has(name) ? value : '***'}`);
  return `${protocol}//${host}${pathname}${query.length === 0 ? '' : `?${query.join('&')}`}`;
}

/** Whether `hostname`, without a port, can only mean this machine. */
export function isLoopbackHost(hostname: string): boolean {
  const name = hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name);
}

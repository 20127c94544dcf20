/** Where a client has this cache, by what it asked for: to be shown to that client, and nothing else. */

const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]{0,253})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/i;

/** `https://cache.example.org`; undefined if the request does not say. Proxies say in headers what they were asked. */
export function addressOf({ headers, url }: Request): string | undefined {
  const first = (name: string): string | undefined => headers.get(name)?.split(',', 1)[0]?.trim();
  const host = first('x-forwarded-host') ?? first('host') ?? URL.parse(url)?.host ?? '';
  if (!HOST.test(host)) return undefined;
  const scheme = first('x-forwarded-proto')?.toLowerCase() ?? URL.parse(url)?.protocol.slice(0, -1);
  return scheme === 'http' || scheme === 'https' ? `${scheme}://${host}` : undefined;
}

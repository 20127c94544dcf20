/** What `serve` says once it listens: what is there, and how Nix gets it. */
import { hostname } from 'node:os';
import type { CacheReader } from '../../../cache/read/cache-reader.ts';
import type { UpstreamSetting } from '../../../config/upstreams.ts';
import { formatCount } from '../../../quantity.ts';
import { advertisedKeys } from '../../../serve/advertised-keys.ts';
import { formatDuration } from '../../ui/format.ts';
import type { Facts } from '../../ui/log-record.ts';

export interface WelcomeOptions {
  readonly url: string;
  readonly upstreams: readonly Pick<UpstreamSetting, 'url'>[];
  readonly isPrivate: boolean;
  /** Public keys, as `name:base64`: those that are given, before those that the cache names. */
  readonly keys: readonly string[];
  /** Keys of which one must have signed what is served. */
  readonly trustedPublicKeys: readonly string[];
  readonly now?: Date | undefined;
  /** Of this machine, where the address is that of all its interfaces; default: what the system says. */
  readonly hostName?: string | undefined;
}

interface Line {
  readonly text: string;
  readonly facts: Facts;
}

export async function welcomeOf(
  reader: Pick<CacheReader, 'name' | 'status' | 'fetchPublicKeys'>,
  { url, upstreams, isPrivate, keys, trustedPublicKeys, now = new Date(), hostName = hostname() }: WelcomeOptions,
): Promise<readonly Line[]> {
  const then = upstreams.map((upstream) => upstream.url).join(', ');
  const { entries, refreshedAt } = reader.status();
  const ageMs = refreshedAt && Math.max(0, now.getTime() - refreshedAt.getTime());
  const named = () => reader.fetchPublicKeys().catch(() => []);
  const known = await advertisedKeys({ own: keys, trusted: trustedPublicKeys, named });
  return [
    {
      text: `serving ${reader.name}${then === '' ? '' : `, then ${then}`}; Ctrl-C stops`,
      facts: { event: 'serving', url, cache: reader.name, private: isPrivate },
    },
    {
      text: indexLine(entries, ageMs),
      facts: { event: 'index', entries, ageSeconds: ageMs && Math.round(ageMs / 1000) },
    },
    usageLine(reachable(url, hostName), known, isPrivate),
  ];
}

function indexLine(entries: number, ageMs: number | undefined): string {
  if (ageMs !== undefined && entries === 0)
    return `index: empty, ${formatDuration(ageMs)} old; was anything published there, and is the reference right?`;
  if (ageMs !== undefined) return `index: ${formatCount(entries, 'entry', 'entries')}, ${formatDuration(ageMs)} old`;
  if (entries > 0)
    return `index: ${formatCount(entries, 'entry', 'entries')} from an earlier run, not compared with the cache yet`;
  return 'index: none was ever seen; /health answers 503 until there is one';
}

/** Nobody is at the address that stands for all of a machine's. */
const reachable = (url: string, hostName: string): string =>
  url.replace(/^(http:\/\/)(?:0\.0\.0\.0|\[::\])(?=[:/]|$)/, `$1${hostName}`);

function usageLine(url: string, keys: readonly string[], isPrivate: boolean): Line {
  // Nix asks no unix socket.
  if (!url.startsWith('http:')) {
    const text = `to use it, have a web server pass on to ${url} what Nix asks; keys: ${keys.join(' ') || 'none are known'}`;
    return { text, facts: { event: 'usage', 'extra-trusted-public-keys': keys.join(' ') } };
  }
  const settings = {
    'extra-substituters': url,
    ...(keys.length > 0 && { 'extra-trusted-public-keys': keys.join(' ') }),
  };
  const lines = Object.entries(settings).map(([name, value]) => `\n  ${name} = ${value}`);
  const whose = keys.length > 0 ? '' : ', with the key of who signed what is in it';
  const token = `\nand each client's token in its netrc: machine ${URL.parse(url)?.hostname} login any password TOKEN`;
  return {
    text: `to use it, in nix.conf${whose}:${lines.join('')}${isPrivate ? token : ''}`,
    facts: { event: 'usage', ...settings },
  };
}

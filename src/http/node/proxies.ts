/**
 * Which proxy a URL is reached through, as curl and Go programs read the variables: https_proxy and http_proxy by the URL's
 * scheme, else all_proxy; each lower case first. A value without scheme means http. NO_PROXY as in Go: golang/net
 * http/httpproxy/proxy.go. This machine itself is never reached through one.
 */
import { BlockList, isIP, isIPv4 } from 'node:net';
import { type Environment, variable } from '../../environment.ts';
import { NixcacheError } from '../../errors.ts';
import { isLoopbackHost } from '../http-fetch.ts';

export interface ProxyServer {
  readonly protocol: 'http' | 'https' | 'socks5';
  /** `host:port`, as messages name it. */
  readonly host: string;
  /** `http://host:port`, without userinfo. */
  readonly origin: string;
  /** Decoded. */
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** What named it: `HTTPS_PROXY`. */
  readonly from: string;
}

/** The variable that names the proxy for `url`; undefined when it is reached directly. */
export function proxyVariable(url: URL, env: Environment): string | undefined {
  if (isLoopbackHost(url.hostname) || isExcepted(url, env)) return undefined;
  const scheme = url.protocol.replace(':', '');
  return [...namesOf(scheme), ...namesOf('all')].find((name) => variable(env, name) !== undefined);
}

/** The proxy for `url`. @throws {NixcacheError} ERR_USAGE naming the variable, when it holds no proxy */
export function proxyFor(url: URL, env: Environment): ProxyServer | undefined {
  const from = proxyVariable(url, env);
  return from === undefined ? undefined : parseProxy(variable(env, from) ?? '', from);
}

/** Schemes, and the port where the text has none: curl's and Go's. */
const PORTS: Readonly<Record<string, readonly [ProxyServer['protocol'], number]>> = {
  'http:': ['http', 80],
  'https:': ['https', 443],
  'socks5:': ['socks5', 1080],
  // The name is looked up by the proxy either way.
  'socks5h:': ['socks5', 1080],
  'socks:': ['socks5', 1080],
};

/** @throws {NixcacheError} ERR_USAGE, which does not repeat `text`: it may hold a password */
export function parseProxy(text: string, from: string): ProxyServer {
  const isAlmostUrl = /^(?:https?|socks(?:4a?|5h?)?):(?!\/\/|\d+\/?$)/i.test(text);
  const given = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = isAlmostUrl ? null : URL.parse(given);
  const [protocol, port] = PORTS[url?.protocol ?? ''] ?? [];
  if (url === null || protocol === undefined || url.hostname === '') {
    throw new NixcacheError(
      'ERR_USAGE',
      `${from} holds no proxy that is known here: write http://host:3128, host:3128 or socks5://host:1080, and special characters of a password as %XX`,
    );
  }
  const host = `${url.hostname}:${url.port || port}`;
  return {
    ...{ protocol, host, origin: `${protocol}://${host}`, from },
    username: url.username === '' && url.password === '' ? undefined : decoded(url.username),
    password: url.password === '' ? undefined : decoded(url.password),
  };
}

/** curl takes a % that is followed by no number for itself. */
const decoded = (text: string): string => {
  const bytes = text.replaceAll(/%(?![0-9a-f]{2})/gi, '%25');
  return Buffer.from(
    bytes.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString('utf8');
};

function namesOf(scheme: string): readonly string[] {
  return [`${scheme}_proxy`, `${scheme.toUpperCase()}_PROXY`];
}

/** Whether NO_PROXY says that `url` is reached directly. */
function isExcepted(url: URL, env: Environment): boolean {
  const text = variable(env, 'no_proxy') ?? variable(env, 'NO_PROXY') ?? '';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/(.)\.$/, '$1');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return text
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .some((entry) => matches(entry.toLowerCase(), host, port));
}

/** `*`, `10.0.0.0/8`, `10.1.2.3`, `[::1]:443`, `example.com` (with all below it), `.example.com` and `*.example.com` (without itself). */
function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const [network = '', bits] = entry.split('/', 2);
  if (bits !== undefined) return isIP(network) !== 0 && isWithin(host, network, bits);
  const [, name = '', wanted] = splitPort(entry);
  if (wanted !== undefined && wanted !== port) return false;
  if (isIP(name) !== 0) return isWithin(host, name, isIPv4(name) ? '32' : '128');
  if (isIP(host) !== 0) return false;
  const suffix = name.replace(/^\*(?=\.)/, '').replace(/(.)\.$/, '$1');
  return suffix.startsWith('.') ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

/** An IPv6 address with a port is in brackets. */
function splitPort(entry: string): readonly (string | undefined)[] {
  if (isIP(entry) !== 0) return [entry, entry];
  return /^\[([^\]]*)\](?::(\d+))?$/.exec(entry) ?? /^([^:]*)(?::(\d+))?$/.exec(entry) ?? [];
}

function isWithin(host: string, network: string, bits: string): boolean {
  const family = isIPv4(network) ? 'ipv4' : 'ipv6';
  if (isIP(host) === 0 || !/^\d+$/.test(bits) || Number(bits) > (family === 'ipv4' ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, Number(bits), family);
  return list.check(host, isIPv4(host) ? 'ipv4' : 'ipv6');
}

/** undici's dispatchers: one for each way out, the direct one and one a proxy. */
import type { Dispatcher } from 'undici';
import { basicAuthorization } from '../basic-authorization.ts';
import { ProxyRefusal } from '../network-error.ts';
import type { ProxyServer } from './proxies.ts';

export interface DispatcherOptions {
  /** Connections per origin. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
}

interface Dispatchers {
  /** The one that goes through `proxy`, or directly. */
  to(proxy: ProxyServer | undefined): Dispatcher;
  all(): readonly Dispatcher[];
}

/** Connections for large bodies and others for all else: what waits behind one another is of one kind. */
export interface Lanes {
  readonly usual: Dispatchers;
  readonly bulk: Dispatchers;
}

/** Longer than a build between two pushes mostly takes, shorter than the 60 s after which load balancers hang up. */
const KEEP_ALIVE_MS = 30_000;

/** undici takes a while to load, and many commands send no request. */
export async function openLanes(options: DispatcherOptions): Promise<Lanes> {
  const undici = await import('undici');
  return { usual: openDispatchers(undici, options), bulk: openDispatchers(undici, options) };
}

function openDispatchers(
  { Agent, Pool, ProxyAgent, Socks5ProxyAgent }: typeof import('undici'),
  { connections, connectTimeoutMs }: DispatcherOptions,
): Dispatchers {
  const options = {
    // HTTP/2 over one connection is slower for uploads than several of HTTP/1.1, and one stall would hold up all.
    allowH2: false,
    pipelining: 1,
    connections,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectTimeout: connectTimeoutMs,
    autoSelectFamily: true,
  };
  /** undici's own refusal of a tunnel says only in words which status the proxy gave. */
  class Tunnels extends Pool {
    override async connect(request: Dispatcher.ConnectOptions): Promise<Dispatcher.ConnectData> {
      const data = await super.connect(request);
      if (data.statusCode === 200) return data;
      data.socket.on('error', () => undefined).destroy();
      throw new ProxyRefusal(data.statusCode);
    }
  }
  const open = ({ protocol, origin, username, password = '' }: ProxyServer): Dispatcher => {
    if (protocol === 'socks5') {
      return new Socks5ProxyAgent(origin, { ...options, ...(username === undefined ? {} : { username, password }) });
    }
    const token = username && basicAuthorization({ username, password });
    return new ProxyAgent({
      ...options,
      ...(token === undefined ? {} : { token }),
      uri: origin,
      clientFactory: (to, toOptions) => new Tunnels(to, toOptions),
    });
  };
  const direct = new Agent(options);
  const proxied = new Map<string, Dispatcher>();
  return {
    to(proxy) {
      if (proxy === undefined) return direct;
      const known = proxied.get(proxy.from);
      if (known !== undefined) return known;
      const opened = open(proxy);
      proxied.set(proxy.from, opened);
      return opened;
    },
    all: () => [direct, ...proxied.values()],
  };
}

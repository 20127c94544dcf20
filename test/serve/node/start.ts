/** A server on a port of its own, over a cache in memory, until the test ends. */
import { onTestFinished } from 'vitest';
import type { ServerEvent, ServerOptions } from '../../../src/serve/node/server.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';

export async function start(options: Partial<ServerOptions> = {}, reader = new MemoryCacheReader()) {
  const events: ServerEvent[] = [];
  const server = await startServer({
    reader,
    port: 0,
    drainMs: 2000,
    onEvent: (event) => events.push(event),
    ...options,
  });
  onTestFinished(() => server.close());
  return {
    server,
    reader,
    events,
    port: server.port,
    get: (path: string, init?: RequestInit) => fetch(server.url + path, init),
  };
}

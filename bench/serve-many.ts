import { get } from 'node:http';
import { openLatencyProxy } from './support/latency-proxy.ts';
import { median } from './support/report.ts';
import { startServe } from './support/serve-process.ts';

export interface ManyClientsOptions {
  readonly entry: string;
  /** Host and port of the registry, and what of it is served. */
  readonly registry: string;
  readonly repository: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of the NAR that all ask for. */
  readonly path: string;
  readonly clients: number;
}

export interface ManyClients {
  /** Medians of the times to the first byte. */
  readonly oneMs: number;
  readonly allMs: number;
  /** Downloads from the registry for all of them. */
  readonly downloads: number;
}

/** As far as a registry in the same country is. */
const ROUND_TRIP_MS = 10;

/** One client, then many at once, ask for a NAR that `serve` has to fetch from a registry behind a line. */
export async function manyClients(options: ManyClientsOptions): Promise<ManyClients> {
  const { entry, registry, repository, env, path, clients } = options;
  await using stack = new AsyncDisposableStack();
  const line = await openLatencyProxy(registry, ROUND_TRIP_MS);
  stack.defer(() => line.close());
  const server = await startServe(entry, ['--cache', `${line.address}/${repository}`], env);
  stack.defer(() => server.stop());
  await fetchTimed(`${server.url}/${path}`); // opens connections
  const one = await fetchTimed(`${server.url}/${path}`);
  const before = line.counts.bytesDown;
  const all = await Promise.all(Array.from({ length: clients }, () => fetchTimed(`${server.url}/${path}`)));
  return {
    oneMs: one.firstByteMs,
    allMs: median(all.map(({ firstByteMs }) => firstByteMs)),
    downloads: (line.counts.bytesDown - before) / one.bytes,
  };
}

function fetchTimed(url: string): Promise<{ readonly firstByteMs: number; readonly bytes: number }> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, (response) => {
      let [firstByteMs, bytes] = [0, 0];
      response.on('data', (chunk: Buffer) => {
        if (bytes === 0) firstByteMs = performance.now() - started;
        bytes += chunk.length;
      });
      response.on('end', () => resolve({ firstByteMs, bytes }));
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

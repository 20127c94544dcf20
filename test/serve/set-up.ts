import { encode } from '../../src/nix/nixbase32.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import type { HashPart } from '../../src/nix/store-path.ts';
import { App } from '../../src/serve/app.ts';
import { toRequest } from '../../src/serve/node/listener.ts';
import type { ServeEvent, ServeOptions } from '../../src/serve/serve-options.ts';
import { noise } from '../support/bytes.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';

export const baseName = (seed: number, name = `package-${seed}`): string => `${encode(noise(20, seed))}-${name}`;
export const hashPart = (seed: number): HashPart => encode(noise(20, seed)) as HashPart;
export const newKey = (name: string): SecretKey => parseSecretKey(generateKey(name).secret);

/** An answer as tests look at it: small bodies are read, those of NARs are streams. */
export interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer | ReadableStream<Uint8Array>;
}

export const headerOf = (reply: Asked, name: string): string | undefined => reply.headers.get(name) ?? undefined;

export async function bodyOf(body: Asked['body']): Promise<Buffer> {
  if (Buffer.isBuffer(body)) return body;
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** An app over a memory cache, asked as Node's listener asks it, without a socket. */
export function setUpApp(options: Partial<ServeOptions> = {}) {
  const reader = new MemoryCacheReader();
  const events: ServeEvent[] = [];
  const app = new App({ reader, onEvent: (event) => events.push(event), ...options });
  const ask = async (url: string, { method = 'GET', ...headers }: Record<string, string> = {}): Promise<Asked> => {
    const response = await app.fetch(toRequest({ method, url, rawHeaders: Object.entries(headers).flat() }));
    const isNar = response.headers.get('content-type') === 'application/x-nix-nar';
    const body = isNar && response.body !== null ? response.body : Buffer.from(await response.arrayBuffer());
    return { status: response.status, headers: response.headers, body };
  };
  return { app, reader, events, ask };
}

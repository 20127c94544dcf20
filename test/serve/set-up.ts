import { encode } from '../../src/nix/nixbase32.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import type { HashPart } from '../../src/nix/store-path.ts';
import { type Answer, isFileBody, type Reply } from '../../src/serve/answer.ts';
import { App } from '../../src/serve/app.ts';
import type { ServeEvent, ServeOptions } from '../../src/serve/serve-options.ts';
import { noise, readAll } from '../support/bytes.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';

export const baseName = (seed: number, name = `package-${seed}`): string => `${encode(noise(20, seed))}-${name}`;
export const hashPart = (seed: number): HashPart => encode(noise(20, seed)) as HashPart;
export const newKey = (name: string): SecretKey => parseSecretKey(generateKey(name).secret);

export function headerOf(reply: Reply, name: string): string | undefined {
  const at = reply.headers.findIndex((header, i) => i % 2 === 0 && header.toLowerCase() === name);
  return at < 0 ? undefined : reply.headers[at + 1];
}

export async function bodyOf(body: Answer['body']): Promise<Buffer> {
  if (!isFileBody(body)) return Buffer.from(body ?? '');
  return await readAll(await body.open({ signal: new AbortController().signal }));
}

/** An app over a memory cache, asked without a socket. */
export function setUpApp(options: Partial<ServeOptions> = {}) {
  const reader = new MemoryCacheReader();
  const events: ServeEvent[] = [];
  const app = new App({ reader, onEvent: (event) => events.push(event), ...options });
  const ask = async (url: string, { method = 'GET', ...headers }: Record<string, string> = {}): Promise<Reply> =>
    await app.reply({ method, url, rawHeaders: Object.entries(headers).flat() });
  return { app, reader, events, ask };
}

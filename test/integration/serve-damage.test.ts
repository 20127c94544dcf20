/** Real Nix before a damaged cache and one that is whole: it gets what is right, from the second. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { toStorePath } from '../../src/nix/store-path.ts';
import { type RunningServer, type ServerEvent, startServer } from '../../src/serve/node/server.ts';
import { baseNameFor, CacheBuilder, hashPartFor } from '../support/cache-builder.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { createNixClient } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

const PATHS = [
  { name: 'small', bytes: 10_000 },
  { name: 'large', bytes: 4_000_000 },
  { name: 'large-in-pieces', bytes: 4_000_000, pieces: true },
];
const made = new MemoryStore();
const builder = new CacheBuilder(made);

beforeAll(async () => {
  await builder.publish({ at: new Date(1e12), paths: PATHS, packed: false });
});

/** A server before a cache with the same content, another byte in the middle of one path's NAR. */
async function serve(damagedName?: string): Promise<RunningServer & { readonly events: ServerEvent[] }> {
  const store = new MemoryStore();
  for (const kind of ['blobs', 'manifests', 'tags'] as const) {
    for (const [key, value] of made[kind]) store[kind].set(key as never, value as never);
  }
  const reader = await IndexReader.open({ store, strict: false });
  await reader.refresh();
  if (damagedName !== undefined) damage(store, reader, damagedName);
  const events: ServerEvent[] = [];
  const server = await startServer({ reader, port: 0, logRequests: true, onEvent: (event) => events.push(event) });
  onTestFinished(() => server.close());
  return { ...server, events };
}

function damage(store: MemoryStore, reader: IndexReader, name: string): void {
  const digest = reader.findEntry(hashPartFor(name))?.nar[0]?.digest;
  const blob = digest && store.blobs.get(digest);
  if (!digest || !blob) throw new Error(`${name} is not there`);
  const copy = Buffer.from(blob);
  copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
  store.blobs.set(digest, copy);
}

describe.each(NIX_VERSIONS)('$name', (nix) => {
  beforeAll(() => requireNix(nix));

  it.each(PATHS)('takes what is damaged in one cache from its next: $name', async ({ name }) => {
    const first = await serve(name);
    const second = await serve();
    const client = await createNixClient({
      substituters: [first.url, second.url],
      bin: nix.bin,
      config: ['require-sigs = false'],
    });
    onTestFinished(() => client.cleanup());
    const path = toStorePath(baseNameFor(name));
    const run = async (...args: string[]): Promise<string> =>
      (await execa('nix-store', args, { env: client.env, extendEnv: false })).stdout;
    expect(await run('--realise', path)).toBe(path);
    const nar = builder.nars.get(name)?.[0] ?? Buffer.alloc(0);
    expect(nar.includes(await readFile(join(client.realStoreDir, basename(path))))).toBe(true);
    expect(first.events).toContainEqual(expect.objectContaining({ type: 'damaged' }));
    const asked = first.events.flatMap((event) => (event.type === 'request' ? [event] : []));
    expect(asked.filter(({ path, status }) => path.startsWith('/nar/') && status === 206)).toEqual([]);
    expect((await fetch(`${first.url}/${hashPartFor(name)}.narinfo`)).status).toBe(404);
    expect(second.events).toContainEqual(
      expect.objectContaining({ type: 'request', status: 200, path: expect.stringMatching(/^\/nar\//) }),
    );
  });
});

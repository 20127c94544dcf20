/** Real Nix as the client of `serve`: what it copies, substitutes and asks. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { type RunningServer, startServer } from '../../src/serve/node/server.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { MemoryCacheReader } from '../support/memory-cache-reader.ts';
import { createNixClient, createNixEnv, type NixEnv } from '../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';

/** A text that refers to another: two store paths, made without a build. */
const EXPRESSION = `builtins.toFile "outer" "see \${builtins.toFile "inner" "${'hello '.repeat(2000)}"}"`;

const key = generateKey('serve-test-1');
const reader = new MemoryCacheReader();
const http = new HttpClient();
let server: RunningServer;
let upstreamServer: RunningServer;
let paths: { readonly outer: string; readonly inner: string };

beforeAll(async () => {
  const publisher = await createNixEnv();
  try {
    const run = async (command: string, ...args: string[]): Promise<string> =>
      (await execa(command, args, { env: publisher.env, extendEnv: false })).stdout;
    const outer = JSON.parse(await run('nix-instantiate', '--eval', '--json', '--read-write-mode', '-E', EXPRESSION));
    const inner = await run('nix-store', '--query', '--references', outer);
    for (const path of [inner, outer]) {
      const file = join(publisher.realStoreDir, basename(path));
      const nar = await execa('nix-store', ['--dump', file], {
        env: publisher.env,
        extendEnv: false,
        encoding: 'buffer',
      });
      const references = (await run('nix-store', '--query', '--references', path)).split('\n').filter(Boolean);
      reader.add({
        baseName: basename(path),
        nar: Buffer.from(nar.stdout),
        references: references.map((reference) => basename(reference)),
        compression: path === inner ? 'zstd' : 'none',
        keys: [parseSecretKey(key.secret)],
      });
    }
    paths = { outer, inner };
  } finally {
    await publisher.cleanup();
  }
  server = await startServer({ reader, port: 0 });
  const upstream = new Upstream(parseUpstream(server.url), { http, patience: PROMPT });
  upstreamServer = await startServer({ reader: new MemoryCacheReader(), upstreams: [upstream], port: 0 });
});

afterAll(async () => {
  await upstreamServer.close();
  await server.close();
  await http.destroy();
});

describe.each(NIX_VERSIONS)('$name as a client', (nix) => {
  let client: NixEnv;

  beforeAll(() => requireNix(nix));

  const withClient = async (url: string, act: (run: typeof runNix) => Promise<void>): Promise<void> => {
    client = await createNixClient({ substituters: [url], publicKeys: [key.public], bin: nix.bin });
    try {
      await act(runNix);
    } finally {
      await client.cleanup();
    }
  };
  const runNix = async (command: string, ...args: string[]): Promise<string> =>
    (await execa(command, args, { env: client.env, extendEnv: false })).stdout;

  it.each([
    ['the cache', () => server.url],
    ['an upstream', () => upstreamServer.url],
  ])('copies a closure out of %s', async (_what, url) => {
    await withClient(url(), async (run) => {
      await run('nix', 'copy', '--from', url(), paths.outer);
      const outer = await readFile(join(client.realStoreDir, basename(paths.outer)), 'utf8');
      expect(outer).toBe(`see ${paths.inner}`);
      expect(await run('nix-store', '--query', '--requisites', paths.outer)).toContain(paths.inner);
      await run('nix-store', '--verify', '--check-contents');
    });
  });

  it('substitutes', async () => {
    await withClient(server.url, async (run) => {
      expect(await run('nix-store', '--realise', paths.outer)).toBe(paths.outer);
    });
  });

  it('asks what is there, and is told what is not', async () => {
    await withClient(server.url, async (run) => {
      const known = await run('nix', 'path-info', '--store', server.url, '--recursive', paths.outer);
      expect(known.split('\n').sort()).toEqual([paths.inner, paths.outer].sort());
      const absent = `/nix/store/${'0'.repeat(32)}-absent`;
      await expect(run('nix', 'path-info', '--store', server.url, absent)).rejects.toThrow(/not valid/);
    });
  });

  it('takes nothing that a key of its own did not sign', async () => {
    await withClient(server.url, async () => {
      const stranger = await createNixClient({ substituters: [server.url], bin: nix.bin });
      try {
        const env = { env: stranger.env, extendEnv: false };
        await expect(execa('nix', ['copy', '--from', server.url, paths.outer], env)).rejects.toThrow(/signature/);
      } finally {
        await stranger.cleanup();
      }
    });
  });
});

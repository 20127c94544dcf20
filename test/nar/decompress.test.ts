import { Readable } from 'node:stream';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { describe, expect, it } from 'vitest';
import { decompress } from '../../src/nar/decompress.ts';
import { noise, opener } from '../support/bytes.ts';

const unpack = async (bytes: Uint8Array, compression: string, maxBytes = 1e6): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of decompress(opener(bytes, 1000)(), compression, maxBytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
};

const content = Buffer.concat([noise(30_000, 1), Buffer.alloc(50_000)]);

describe.each([
  ['zstd', async (bytes: Buffer) => zstdCompressSync(bytes)],
  [
    'zstd',
    async (bytes: Buffer) =>
      Buffer.concat([bytes.subarray(0, 9), bytes.subarray(9)].map((part) => zstdCompressSync(part))),
  ],
  ['xz', (bytes: Buffer) => xz.compress(bytes)],
  ['gzip', async (bytes: Buffer) => gzipSync(bytes)],
  ['br', async (bytes: Buffer) => brotliCompressSync(bytes)],
] as const)('decompress of %s', (compression, pack) => {
  it('gives back what was packed', async () => {
    expect((await unpack(await pack(content), compression)).equals(content)).toBe(true);
  });

  it('refuses what is damaged, cut short, or nothing of the kind', async () => {
    const packed = await pack(content);
    const cut = packed.subarray(0, packed.length - 9);
    for (const bytes of [cut, Buffer.from('nothing of the kind')]) {
      await expect(unpack(bytes, compression)).rejects.toMatchObject({ code: 'ERR_FORMAT' });
    }
  });

  it('stops at more than there should be', async () => {
    const bomb = await pack(Buffer.alloc(5_000_000));
    await expect(unpack(bomb, compression, 10_000)).rejects.toMatchObject({ code: 'ERR_FORMAT' });
  });

  it('passes on why its source ended, and closes it', async () => {
    const packed = await pack(content);
    const source = Readable.from(
      (async function* () {
        yield packed.subarray(0, 100);
        throw new Error('cut off');
      })(),
      { objectMode: false },
    );
    await expect(
      decompress(source, compression, 1e6)
        .next()
        .then(() => unpackRest(source)),
    ).rejects.toThrow('cut off');
    expect(source.destroyed).toBe(true);
  });
});

const unpackRest = async (source: Readable): Promise<void> => {
  for await (const _ of source);
};

it('holds no more of a large xz NAR than what is under way', async () => {
  const packed = await xz.compress(noise(2_000_000, 1));
  const before = process.memoryUsage.rss();
  let [seen, most] = [0, 0];
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 150; i++) yield packed; // streams of xz, one after the other, are one
  };
  for await (const chunk of decompress(source(), 'xz', 1e9)) {
    seen += chunk.length;
    most = Math.max(most, process.memoryUsage.rss() - before);
  }
  expect(seen).toBe(300_000_000);
  expect(most).toBeLessThan(150_000_000);
});

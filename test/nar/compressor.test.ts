import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { XzDecompressor } from '@napi-rs/lzma';
import { describe, expect, it } from 'vitest';
import { createCompressor } from '../../src/nar/compressor.ts';
import type { Compression } from '../../src/nar/nar-job.ts';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';

async function compress(compression: Compression, data: Buffer, chunkBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const compressor = await createCompressor(compression, (piece) => chunks.push(Buffer.from(piece)));
  const reused = Buffer.alloc(chunkBytes);
  for (let at = 0; at < data.length; at += chunkBytes) {
    const length = data.copy(reused, 0, at, at + chunkBytes);
    compressor.write(reused.subarray(0, length));
    reused.fill(0xff); // the chunk was ours again once write returned
  }
  await compressor.finish();
  return Buffer.concat(chunks);
}

async function unzstd(bytes: Buffer): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of decompressZstd(Readable.from([bytes]))) pieces.push(piece);
  return Buffer.concat(pieces);
}
const unxz = async (bytes: Buffer): Promise<Buffer> => {
  const decoder = new XzDecompressor();
  return Buffer.concat([decoder.update(bytes), await decoder.finish()]);
};

describe.each([
  [{ method: 'zstd' }, unzstd],
  [{ method: 'zstd', level: 19 }, unzstd],
  [{ method: 'zstd', checksum: true }, unzstd],
  [{ method: 'xz', level: 1 }, unxz],
  [{ method: 'none' }, async (bytes: Buffer) => bytes],
] as const)('%o', (compression, decompress) => {
  const data = Buffer.concat([randomBytes(300_000), Buffer.alloc(900_000, 'nar')]);

  it('gives the same bytes back, whatever the chunks', async () => {
    for (const chunkBytes of [64 * 1024, 1024 * 1024, 4 * 1024 * 1024]) {
      expect(Buffer.compare(await decompress(await compress(compression, data, chunkBytes)), data)).toBe(0);
    }
  });

  it('makes the same file each time, so that a second upload finds the first', async () => {
    const digests = await Promise.all(
      Array.from({ length: 8 }, async () =>
        createHash('sha256')
          .update(await compress(compression, data, 100_000))
          .digest('hex'),
      ),
    );
    expect(new Set(digests).size).toBe(1);
  });
});

it('with a checksum makes other bytes of anything, about as few', async () => {
  for (const data of [Buffer.from('x'), Buffer.alloc(100_000, 'nar')]) {
    const [plain, checked] = await Promise.all(
      [false, true].map((checksum) => compress({ method: 'zstd', checksum }, data, 64 * 1024)),
    );
    expect(checked?.subarray(0, 8)).not.toEqual(plain?.subarray(0, 8));
    expect((checked?.length ?? 0) - (plain?.length ?? 0)).toBe(4 * Math.ceil(data.length / (64 * 1024)));
  }
});

import { randomBytes } from 'node:crypto';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { decompressZstd } from '../../src/nar/zstd-frames.ts';

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decompress(bytes: Uint8Array, chunkBytes = 65_536): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of decompressZstd(inChunks(bytes, chunkBytes))) pieces.push(piece);
  return Buffer.concat(pieces);
}

const checksummed = (bytes: Uint8Array): Buffer =>
  zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

describe('decompressZstd', () => {
  const parts = [
    randomBytes(300_000),
    Buffer.alloc(0),
    Buffer.alloc(2_000_000, 'abc'),
    Buffer.from('x'),
    randomBytes(70_000),
  ];
  const whole = Buffer.concat(parts);

  it.each([1, 3, 1000, 1 << 20, 1 << 30])('reads frame after frame, in chunks of %i bytes', async (chunkBytes) => {
    const some = chunkBytes < 1000 ? parts.slice(3) : parts;
    const frames = some.flatMap((part) => [zstdCompressSync(part), skippable, checksummed(part)]);
    const twice = Buffer.concat(some.flatMap((part) => [part, part]));
    expect(Buffer.compare(await decompress(Buffer.concat(frames), chunkBytes), twice)).toBe(0);
  });

  it('finds nothing in nothing', async () => {
    expect(await decompress(Buffer.alloc(0))).toEqual(Buffer.alloc(0));
  });

  it.each([
    ['something else', Buffer.from('not zstd at all')],
    ['a magic number cut short', zstdCompressSync(whole).subarray(0, 3)],
    ['something else behind a frame', Buffer.concat([zstdCompressSync(whole), Buffer.from('more')])],
    ['a checksum that is wrong', Buffer.concat([checksummed(whole).subarray(0, -1), Buffer.from([0])])],
  ])('refuses %s', async (_, bytes) => {
    await expect(decompress(bytes)).rejects.toMatchObject({ code: 'ERR_FORMAT' });
  });

  it('refuses data that is cut short anywhere', async () => {
    const bytes = Buffer.concat([checksummed(Buffer.from('first frame')), zstdCompressSync(Buffer.from('second'))]);
    const first = checksummed(Buffer.from('first frame')).length;
    for (let end = 1; end < bytes.length; end++) {
      if (end === first) continue;
      await expect(decompress(bytes.subarray(0, end)), `at ${end}`).rejects.toMatchObject({ code: 'ERR_FORMAT' });
    }
  });

  it('closes its source when it is left early', async () => {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* inChunks(zstdCompressSync(randomBytes(5_000_000)), 65_536);
      } finally {
        closed = true;
      }
    }
    for await (const _ of decompressZstd(source())) break;
    expect(closed).toBe(true);
  });
});

test('whatever the frames and the chunks, the bytes are the same', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      fc.integer({ min: 1, max: 64 }),
      async (parts, chunkBytes) => {
        const frames = Buffer.concat(parts.map((part) => zstdCompressSync(part)));
        expect(await decompress(frames, chunkBytes)).toEqual(Buffer.concat(parts));
      },
    ),
  );
});

test('arbitrary bytes behind a frame never crash it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
      const data = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), bytes]);
      await decompress(data).catch((error) => expect(error).toMatchObject({ code: 'ERR_FORMAT' }));
    }),
  );
});

describe('what is skipped', () => {
  const parts = [randomBytes(300), Buffer.alloc(0), Buffer.alloc(70_000, 'abc'), randomBytes(2000)];
  const whole = Buffer.concat(parts);
  const frames = parts.map((part) => zstdCompressSync(part));
  /** Without a content size, as of a stream. */
  const unsized = parts.map((part) => zstdCompressSync(part, { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } }));

  it.each([0, 1, 299, 300, 301, 70_299, 70_300, 70_301, 72_300, 99_999])('does not come: %i bytes', async (skip) => {
    for (const packed of [frames, unsized, [frames[0], unsized[1], skippable, unsized[2], frames[3]]]) {
      const pieces: Buffer[] = [];
      const bytes = Buffer.concat(packed as Buffer[]);
      for await (const piece of decompressZstd(inChunks(bytes, 1000), { skip })) pieces.push(piece);
      expect(Buffer.compare(Buffer.concat(pieces), whole.subarray(skip))).toBe(0);
    }
  });

  it('is not decoded where its frame says how long it is', async () => {
    const damaged = Buffer.from(checksummed(parts[2] ?? Buffer.alloc(0)));
    damaged.fill(0, damaged.length - 4); // its checksum is wrong
    const bytes = Buffer.concat([damaged, zstdCompressSync(Buffer.from('next'))]);
    const pieces: Buffer[] = [];
    for await (const piece of decompressZstd(inChunks(bytes, 100), { skip: 70_000 })) pieces.push(piece);
    expect(String(Buffer.concat(pieces))).toBe('next');
    await expect(decompress(bytes)).rejects.toMatchObject({ code: 'ERR_FORMAT' });
  });
});

it('frames are told where they begin', async () => {
  const frames = [zstdCompressSync(Buffer.from('one')), skippable, zstdCompressSync(Buffer.from('two'))];
  const starts: number[] = [];
  for await (const _ of decompressZstd(inChunks(Buffer.concat(frames), 7), { onFrame: (at) => starts.push(at) }));
  expect(starts).toEqual([0, (frames[0]?.length ?? 0) + skippable.length]);
});

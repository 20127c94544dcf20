import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PartWriter } from '../../src/nar/part-writer.ts';
import { hashFromHex } from '../../src/nix/hash.ts';
import { noise } from '../support/bytes.ts';
import { tempDir } from '../support/temp-dir.ts';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

test('a small file stays in memory', async () => {
  const spoolDirectory = await tempDir();
  const writer = new PartWriter({ spoolDirectory, maxInlineBytes: 10, partBytes: 100 });
  const chunk = Buffer.from('0123456');
  writer.write(chunk);
  chunk.fill('x'); // ours again
  writer.write(Buffer.from('789'));
  expect(writer.finish()).toEqual({
    fileHash: hashFromHex(sha256(Buffer.from('0123456789'))),
    fileSize: 10,
    bytes: Buffer.from('0123456789'),
  });
  expect(readdirSync(spoolDirectory)).toEqual([]);
});

test.each([
  [99, [99]],
  [100, [100]],
  [101, [100, 1]],
  [350, [100, 100, 100, 50]],
])('a file of %i bytes is split into parts of at most 100: %j', async (size, sizes) => {
  const spoolDirectory = await tempDir();
  const writer = new PartWriter({ spoolDirectory, maxInlineBytes: 10, partBytes: 100 });
  const data = Buffer.from(Array.from({ length: size }, (_, i) => i % 251));
  for (let at = 0; at < size; at += 37) writer.write(Buffer.from(data.subarray(at, at + 37)));
  const { fileHash, fileSize, parts = [] } = writer.finish();
  expect([fileHash, fileSize]).toEqual([hashFromHex(sha256(data)), size]);
  expect(parts.map((part) => part.size)).toEqual(sizes);
  const contents = parts.map(({ file }) => readFileSync(file));
  expect(Buffer.concat(contents)).toEqual(data);
  expect(parts.map(({ digest }) => digest)).toEqual(contents.map((bytes) => `sha256:${sha256(bytes)}`));
});

test.each([
  [1024 * 1024, 0],
  [1024 * 1024 + 1, 2],
  [3 * 1024 * 1024, 3],
])('of a file of %i bytes there are digests of %i pieces, whatever its parts', async (size, count) => {
  const data = noise(size, 'pieces');
  const digests = Array.from({ length: count }, (_, i) =>
    createHash('sha256')
      .update(data.subarray(i * 1024 * 1024, (i + 1) * 1024 * 1024))
      .digest()
      .subarray(0, 16),
  );
  for (const partBytes of [700_000, 100_000_000]) {
    const writer = new PartWriter({ spoolDirectory: await tempDir(), maxInlineBytes: 65_536, partBytes });
    for (let at = 0; at < size; at += 300_000) writer.write(data.subarray(at, at + 300_000));
    const { pieces } = writer.finish();
    if (count === 0) expect(pieces).toBeUndefined();
    else expect(pieces).toEqual({ size, pieceBytes: 1024 * 1024, digests: new Uint8Array(Buffer.concat(digests)) });
  }
});

test('discard leaves nothing behind', async () => {
  const spoolDirectory = await tempDir();
  const writer = new PartWriter({ spoolDirectory, maxInlineBytes: 10, partBytes: 100 });
  writer.write(Buffer.alloc(250));
  expect(readdirSync(spoolDirectory)).toHaveLength(3);
  writer.discard();
  expect(readdirSync(spoolDirectory)).toEqual([]);
});

test('a spool that cannot be written is named', () => {
  const writer = new PartWriter({ spoolDirectory: '/nonexistent/spool', maxInlineBytes: 1, partBytes: 100 });
  expect(() => writer.write(Buffer.alloc(2))).toThrowError(
    expect.objectContaining({ code: 'ERR_IO', message: expect.stringContaining('/nonexistent/spool') }),
  );
});

test('says so where its directory is taken away, as by a gc', async () => {
  const spoolDirectory = await tempDir();
  const writer = new PartWriter({ spoolDirectory, maxInlineBytes: 10, partBytes: 100 });
  rmSync(spoolDirectory, { recursive: true });
  expect(() => writer.write(noise(50, 'lost'))).toThrow(/was removed meanwhile, by a gc .*; run the same again$/);
});

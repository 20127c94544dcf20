import { Readable } from 'node:stream';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { readText } from '../../src/upstream/text-body.ts';

const TEXT = 'StoreDir: /nix/store\nName: Größe\n';
const BYTES = Buffer.from(TEXT);

function read(bytes: Buffer, encoding?: string, maxBytes = 100): { text: Promise<string>; body: Readable } {
  const body = Readable.from(Array.from(bytes, (byte) => Buffer.of(byte)));
  return { body, text: readText({ body, encoding, size: undefined } as never, maxBytes, 'the text') };
}

it('puts together what comes in pieces, also inside a character', async () => {
  expect(await read(BYTES).text).toBe(TEXT);
});

it.each([
  ['gzip', gzipSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
  ['deflate', deflateSync],
])('decodes %s', async (encoding, encode) => {
  expect(await read(encode(BYTES), encoding).text).toBe(TEXT);
});

it('takes what is just as long as allowed, and stops reading what is longer', async () => {
  expect(await read(BYTES, undefined, BYTES.length).text).toBe(TEXT);
  const { text, body } = read(BYTES, undefined, BYTES.length - 1);
  await expect(text).rejects.toMatchObject({ code: 'ERR_UPSTREAM', message: /^the text is longer than \d+ bytes$/ });
  expect(body.destroyed).toBe(true);
});

it('does not unpack more than allowed from few bytes', async () => {
  const bomb = gzipSync(Buffer.alloc(1_000_000));
  await expect(read(bomb, 'gzip', 10_000).text).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
});

it.each(['rot13', 'constructor', ''])('refuses the encoding %j by name', async (encoding) => {
  await expect(read(BYTES, encoding).text).rejects.toMatchObject({
    code: 'ERR_UPSTREAM',
    message: expect.stringContaining(`unknown encoding '${encoding}'`),
  });
});

it('says so when bytes are not what their encoding says', async () => {
  await expect(read(BYTES, 'gzip').text).rejects.toMatchObject({ message: 'the text cannot be decoded as gzip' });
});

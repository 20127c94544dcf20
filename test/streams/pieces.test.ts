import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { ByteRange } from '../../src/streams/byte-range.ts';
import { PieceDigester, type Pieces, readPieces } from '../../src/streams/pieces.ts';
import { noise, opener, readAll } from '../support/bytes.ts';

const PIECE = 100;
const CONTENT = noise(1050, 'pieces');

function piecesOf(bytes: Uint8Array, chunkBytes = 64): Pieces {
  const digester = new PieceDigester(PIECE);
  for (let at = 0; at < bytes.length; at += chunkBytes) digester.update(bytes.subarray(at, at + chunkBytes));
  return digester.finish();
}

/** Reads `range` of content of which each read so far gave what `versions` have, the last for ever. */
function setUp(...versions: readonly Buffer[]) {
  const opened: ByteRange[] = [];
  const streams: Readable[] = [];
  const open = async (range: ByteRange): Promise<Readable> => {
    const bytes = versions[Math.min(opened.length, versions.length - 1)] ?? CONTENT;
    opened.push(range);
    const stream = opener(bytes.subarray(range.offset, range.offset + range.length), 37)();
    streams.push(stream);
    return stream;
  };
  const read = (offset: number, length: number): Promise<Readable> =>
    readPieces({ pieces: piecesOf(CONTENT), range: { offset, length }, open, what: 'the content' });
  return { opened, streams, read };
}

const damagedAt = (at: number): Buffer => {
  const copy = Buffer.from(CONTENT);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
};

test('the same digests follow from any chunks', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), (chunkBytes) => {
      expect(piecesOf(CONTENT, chunkBytes)).toEqual(piecesOf(CONTENT, 1));
    }),
    { numRuns: 30 },
  );
  expect(piecesOf(CONTENT)).toMatchObject({ size: 1050, pieceBytes: PIECE, digests: { length: 11 * 16 } });
});

test('any range is what the content has there', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(1049), fc.nat(1049), async (offset, more) => {
      const length = Math.min(more + 1, CONTENT.length - offset);
      const { read, opened, streams } = setUp(CONTENT);
      expect(await readAll(await read(offset, length))).toEqual(CONTENT.subarray(offset, offset + length));
      expect(opened).toHaveLength(1);
      expect(streams[0]?.destroyed).toBe(true);
    }),
    { numRuns: 100 },
  );
});

describe('damage', () => {
  it('of the first piece is an error before there is a stream', async () => {
    const { read, opened } = setUp(damagedAt(299));
    await expect(read(250, 500)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(opened).toHaveLength(3);
  });

  it('of a later piece ends the stream before it', async () => {
    const { read } = setUp(damagedAt(500));
    const chunks: Buffer[] = [];
    const stream = await read(250, 500);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    await expect(new Promise((_resolve, reject) => stream.once('error', reject))).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(Buffer.concat(chunks)).toEqual(CONTENT.subarray(250, 500));
  });

  it('outside the pieces that are asked for does not matter', async () => {
    const { read } = setUp(damagedAt(199));
    expect(await readAll(await read(200, 100))).toEqual(CONTENT.subarray(200, 300));
  });

  it('that is of the way only is read again from there', async () => {
    const { read, opened } = setUp(damagedAt(450), CONTENT);
    expect(await readAll(await read(0, 1050))).toEqual(CONTENT);
    expect(opened).toEqual([
      { offset: 0, length: 1050 },
      { offset: 400, length: 650 },
    ]);
  });

  it('in form of an early end is found as well', async () => {
    const { read } = setUp(CONTENT.subarray(0, 1049));
    await expect(read(1000, 50)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });
});

it('closes what it reads from when it is left', async () => {
  const { read, streams } = setUp(CONTENT);
  const stream = await read(0, 1050);
  stream.destroy();
  await expect.poll(() => streams[0]?.destroyed).toBe(true);
});

it('gives errors of its source on, and asks no second time', async () => {
  let opened = 0;
  const open = async (): Promise<Readable> => {
    opened += 1;
    return new Readable({ read: (): void => {}, construct: (done) => done(new Error('no line')) });
  };
  const reading = readPieces({ pieces: piecesOf(CONTENT), range: { offset: 0, length: 10 }, open, what: 'it' });
  await expect(reading).rejects.toThrow('no line');
  expect(opened).toBe(1);
});

import { PassThrough, type Readable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { Download, UnkeptError } from '../../src/serve/download.ts';
import type { Spool } from '../../src/serve/object-cache.ts';
import type { ByteRange } from '../../src/streams/byte-range.ts';
import { noise, readAll, turns } from '../support/bytes.ts';

const MIB = 1024 * 1024;
const CHUNK = 64 * 1024;
const BYTES = noise(12 * MIB, 'download');

class MemorySpool implements Spool {
  bytes = Buffer.alloc(0);
  reads = 0;
  isClosed = false;
  /** Appending fails once so much is there. */
  fullAt = Number.POSITIVE_INFINITY;

  async append(chunk: Buffer): Promise<void> {
    await turns(1);
    if (this.bytes.length + chunk.length > this.fullAt) throw new Error('full');
    this.bytes = Buffer.concat([this.bytes, chunk]);
  }

  async read({ offset, length }: ByteRange): Promise<Buffer> {
    await turns(1);
    if (this.isClosed) throw new Error('closed');
    this.reads += 1;
    return Buffer.from(this.bytes.subarray(offset, offset + length));
  }

  close(): void {
    this.isClosed = true;
  }
}

function setUp(spool: MemorySpool | undefined) {
  const source = new PassThrough({ highWaterMark: CHUNK });
  source.on('error', () => undefined); // it may never have been opened
  const seen = { isStopped: false, isOver: false, wholes: 0, opens: 0, sent: 0, aheadBytes: Number.POSITIVE_INFINITY };
  let opened = (): void => undefined;
  const opening = new Promise<Readable>((resolve) => {
    opened = () => resolve(source);
  });
  const download = new Download<Spool>({
    open: async (signal) => {
      seen.opens += 1;
      signal.addEventListener('abort', () => {
        seen.isStopped = true;
        source.destroy(signal.reason);
      });
      return await opening;
    },
    begin: async () => spool,
    onChunk: () => undefined,
    onWhole: async () => {
      seen.wholes += 1;
    },
    aheadBytes: () => seen.aheadBytes,
    onOver: () => {
      seen.isOver = true;
    },
  });
  /** Sends all up to `end`, as far as it is taken within some turns. */
  const send = async (end: number): Promise<void> => {
    opened();
    for (let idle = 0; seen.sent < end && idle < 200; ) {
      if (source.writableNeedDrain) {
        idle += 1;
        await turns(1);
        continue;
      }
      idle = 0;
      const next = Math.min(end, seen.sent + CHUNK);
      source.write(BYTES.subarray(seen.sent, next));
      seen.sent = next;
    }
    await turns(20);
  };
  return { download, source, seen, send, opened };
}

const join = (download: Download, range?: ByteRange, isChecked = true): Promise<Readable | Buffer> =>
  download.join({ range, isChecked });

async function take(stream: Readable, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let taken = 0;
  while (taken < count) {
    const chunk: Buffer | null = stream.read(Math.min(stream.readableLength || CHUNK, count - taken));
    if (chunk === null) {
      await turns(1);
      continue;
    }
    chunks.push(chunk);
    taken += chunk.length;
  }
  return Buffer.concat(chunks);
}

describe('a download', () => {
  it('gives each reader all of it, as it comes, whenever the reader came and however slow it is', async () => {
    const spool = new MemorySpool();
    const { download, source, seen, send } = setUp(spool);
    const first = (await Promise.all([join(download), send(MIB)]))[0] as Readable;
    expect(await take(first, MIB)).toEqual(BYTES.subarray(0, MIB));
    const slow = (await join(download)) as Readable;
    expect(await take(slow, 1)).toEqual(BYTES.subarray(0, 1));
    const rest = readAll(first);
    await send(11 * MIB);
    const late = (await join(download)) as Readable;
    await send(BYTES.length);
    source.end();
    const part = readAll((await join(download, { offset: 3 * MIB + 5, length: 2 * MIB })) as Readable);
    expect(Buffer.concat([BYTES.subarray(0, MIB), await rest]).equals(BYTES)).toBe(true);
    expect((await readAll(late)).equals(BYTES)).toBe(true);
    expect((await part).equals(BYTES.subarray(3 * MIB + 5, 5 * MIB + 5))).toBe(true);
    expect((await readAll(slow)).equals(BYTES.subarray(1))).toBe(true);
    expect(seen).toMatchObject({ opens: 1, wholes: 1, isOver: true, isStopped: false });
    expect(spool.reads).toBeGreaterThan(0);
    await vi.waitFor(() => expect(spool.isClosed).toBe(true));
  });

  it('goes on for those who stay, and ends with the last one', async () => {
    const spool = new MemorySpool();
    const { download, seen, send } = setUp(spool);
    const [one, two] = (await Promise.all([join(download), join(download), send(MIB)])) as unknown as Readable[];
    one?.destroy();
    await send(2 * MIB);
    expect(seen.isStopped).toBe(false);
    expect(await take(two as Readable, 2 * MIB)).toEqual(BYTES.subarray(0, 2 * MIB));
    two?.destroy();
    await vi.waitFor(() => expect([spool.isClosed, download.isJoinable]).toEqual([true, false]));
    expect(seen).toMatchObject({ isStopped: true, isOver: true, wholes: 0 });
  });

  it('ends when everybody left before it began', async () => {
    const spool = new MemorySpool();
    const { download, seen } = setUp(spool);
    const abort = new AbortController();
    const joined = download.join({ isChecked: true, signal: abort.signal });
    abort.abort(new Error('left'));
    await expect(joined).rejects.toThrow('left');
    await vi.waitFor(() => expect(seen).toMatchObject({ isStopped: true, isOver: true }));
  });

  it('fails all of them when it fails, and whoever waits for its beginning with its error', async () => {
    const { download, source, send, opened } = setUp(new MemorySpool());
    const reading = join(download);
    opened();
    await send(MIB);
    const stream = (await reading) as Readable;
    const late = join(download, { offset: 0, length: 1 }, false).catch((error: unknown) => error);
    source.destroy(new NixcacheError('ERR_NETWORK', 'cut'));
    await expect(readAll(stream)).rejects.toThrow('cut');
    expect(await late).toMatchObject({ message: 'cut' });
    expect(download.isJoinable).toBe(false);
  });

  it('gives a range of what cannot be checked by itself only once all of it was right', async () => {
    const { download, source, send } = setUp(new MemorySpool());
    let given: Readable | Buffer | undefined;
    const joined = join(download, { offset: 10, length: 100 }, false).then((stream) => {
      given = stream;
    });
    await send(BYTES.length);
    expect(given).toBeUndefined();
    source.end();
    await joined;
    expect(await readAll(given as Readable)).toEqual(BYTES.subarray(10, 110));
  });
});

describe.each([
  ['without a spool', () => undefined],
  ['whose spool is full after a while', () => Object.assign(new MemorySpool(), { fullAt: 3 * MIB })],
])('a download %s', (_what, makeSpool) => {
  it('still gives all of it to all who are there', async () => {
    const { download, source, seen, send } = setUp(makeSpool());
    const streams = (await Promise.all([join(download), join(download), send(MIB)])).slice(0, 2) as Readable[];
    const both = Promise.all(streams.map(readAll));
    await send(BYTES.length);
    source.end();
    for (const bytes of await both) expect(bytes.equals(BYTES)).toBe(true);
    expect(seen).toMatchObject({ wholes: 0, isOver: true });
  });

  it('holds no more than a few MiB for who is slow, and then waits', async () => {
    const { download, seen, send, source } = setUp(makeSpool());
    const slow = (await Promise.all([join(download), send(BYTES.length)]))[0] as Readable;
    expect(seen.sent).toBeLessThan(9 * MIB);
    const all = readAll(slow);
    await send(BYTES.length);
    source.end();
    expect((await all).equals(BYTES)).toBe(true);
  });

  it('is joined by nobody who would miss its beginning, and gives no range of it', async () => {
    const { download, send, source } = setUp(makeSpool());
    const range = join(download, { offset: 10, length: 100 }, false).catch((error: unknown) => error);
    const first = (await Promise.all([join(download), send(MIB)]))[0] as Readable;
    const all = readAll(first);
    await send(10 * MIB);
    expect(await range).toBeInstanceOf(UnkeptError);
    const isThere = download.isJoinable;
    const late = isThere ? readAll((await join(download)) as Readable) : undefined;
    await send(BYTES.length);
    source.end();
    expect((await all).equals(BYTES)).toBe(true);
    if (late !== undefined) expect((await late).equals(BYTES)).toBe(true);
  });
});

import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { checkRange } from '../../src/streams/byte-range.ts';
import { readBounded, readThrough, verifyRange, verifyStream } from '../../src/streams/verify.ts';
import { describeBytes, noise, opener, readAll } from '../support/bytes.ts';

const bytes = noise(100_000, 'verify');
const target = describeBytes(bytes);

/** What a reader gets of `stream`, and the error it meets. */
async function outcomeOf(stream: Readable): Promise<{ seen: number; error: unknown }> {
  let seen = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) seen += chunk.length;
    return { seen, error: undefined };
  } catch (error) {
    return { seen, error };
  }
}

describe('a verified stream', () => {
  it('passes right bytes on', async () => {
    expect((await readAll(readThrough(opener(bytes)(), verifyStream(target)))).equals(bytes)).toBe(true);
  });

  it('never gives all of a wrong blob, however it is cut into chunks', async () => {
    const wrong = Buffer.from(bytes);
    wrong[99_999] = (wrong[99_999] ?? 0) ^ 1;
    for (const chunkBytes of [1000, 65_536, wrong.length]) {
      const { seen, error } = await outcomeOf(readThrough(opener(wrong, chunkBytes)(), verifyStream(target)));
      expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      expect(seen).toBeLessThan(wrong.length);
    }
  });

  it('does not let an empty last chunk free the one that is held back', async () => {
    const wrong = noise(2000, 'wrong');
    const source = Readable.from([wrong, Buffer.alloc(0), Buffer.alloc(0)], { objectMode: false });
    const { seen } = await outcomeOf(readThrough(source, verifyStream({ ...target, size: 2000 })));
    expect(seen).toBe(0);
  });

  it('ends as soon as there are too many bytes, and closes its source', async () => {
    let read = 0;
    const endless = new Readable({
      read() {
        read += 1;
        this.push(read > 100 ? null : Buffer.alloc(65_536));
      },
    });
    const { error } = await outcomeOf(readThrough(endless, verifyStream(target)));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(endless.destroyed).toBe(true);
    expect(read).toBeLessThan(10);
  });

  it('says so when the bytes are too few', async () => {
    const { error } = await outcomeOf(readThrough(opener(bytes.subarray(1))(), verifyStream(target)));
    expect(String(error)).toMatch(/ended after 99999 of 100000 bytes/);
  });

  it('checks the digest alone where the size is unknown', async () => {
    const { digest } = target;
    expect(await readAll(readThrough(opener(bytes)(), verifyStream({ digest })))).toHaveLength(bytes.length);
    const { error } = await outcomeOf(readThrough(opener(bytes.subarray(1))(), verifyStream({ digest })));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });
});

describe('a counted range', () => {
  it.each([
    [99_999, 'goes on after its 99999 bytes'],
    [100_001, 'ended after 100000 of 100001 bytes'],
  ])('ends in an error when %i bytes were asked for and 100000 come', async (length, message) => {
    const { error } = await outcomeOf(readThrough(opener(bytes)(), verifyRange(length)));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(String(error)).toContain(message);
  });

  it('passes just its length on', async () => {
    expect(await readAll(readThrough(opener(bytes)(), verifyRange(bytes.length)))).toHaveLength(bytes.length);
  });

  it.each([
    [0, 0],
    [-1, 5],
    [99_999, 2],
    [100_000, 1],
    [0.5, 1],
    [Number.MAX_SAFE_INTEGER, 2],
    [Number.NaN, 1],
  ])('is refused at %d for %d bytes', (offset, length) => {
    expect(() => checkRange(target, { offset, length })).toThrow(expect.objectContaining({ code: 'ERR_RANGE' }));
  });
});

describe('what readThrough returns', () => {
  it('closes its source when it is left', async () => {
    const source = opener(bytes, 100)();
    const stream = readThrough(source, verifyStream(target));
    for await (const _ of stream) break;
    await turn();
    expect(source.destroyed).toBe(true);
  });

  it('ends in the error of its source', async () => {
    const broken = new NixcacheError('ERR_NETWORK', 'the connection was cut');
    const source = new Readable({ read: () => undefined });
    const stream = readThrough(source, verifyStream(target));
    source.destroy(broken);
    await expect(readAll(stream)).rejects.toBe(broken);
  });

  it('ends in the reason of an abort before anyone listens, without an uncaught error', async () => {
    const controller = new AbortController();
    const source = new Readable({ read: () => undefined });
    const stream = readThrough(source, verifyStream(target), { signal: controller.signal });
    const reason = new NixcacheError('ERR_INTERRUPTED', 'stopped');
    controller.abort(reason);
    await turn();
    await expect(readAll(stream)).rejects.toBe(reason);
    expect(source.destroyed).toBe(true);
  });

  it('makes an error of a reason that is none', async () => {
    const signal = AbortSignal.abort('enough');
    const stream = readThrough(opener(bytes)(), verifyStream(target), { signal });
    await expect(readAll(stream)).rejects.toMatchObject({ code: 'ERR_INTERRUPTED', cause: 'enough' });
  });

  it('reads no more than the reader takes', async () => {
    let read = 0;
    const source = new Readable({
      read() {
        read += 1;
        this.push(read > 1000 ? null : noise(65_536, read));
      },
    });
    const stream = readThrough(source, verifyRange(1000 * 65_536));
    for (let at = 0; at < 50; at += 1) await turn();
    expect(read).toBeLessThan(10);
    stream.destroy();
  });
});

describe('a bounded read', () => {
  it('takes exactly the limit, of chunks of bytes or text', async () => {
    expect(await readBounded(Readable.from(['ab', Buffer.from('cd')]), 4, 'it')).toEqual(Buffer.from('abcd'));
  });

  it('refuses one byte more, with the code it was given, and closes the stream', async () => {
    const source = opener(bytes, 100)();
    await expect(readBounded(source, 99_999, 'the answer', 'ERR_UPSTREAM')).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
      message: 'the answer is longer than 99999 bytes',
    });
    expect(source.destroyed).toBe(true);
  });
});

test('any cut into chunks of right bytes passes, and of other bytes never passes whole', async () => {
  const cut = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(300), { maxLength: 8 }));
  await fc.assert(
    fc.asyncProperty(cut, fc.uint8Array({ minLength: 1, maxLength: 300 }), async ([content, cuts], other) => {
      const edges = [0, ...cuts.map((at) => Math.min(at, content.length)).sort((a, b) => a - b), content.length];
      const chunks = edges.slice(1).map((edge, at) => Buffer.from(content.subarray(edges[at], edge)));
      const open = (): Readable => Readable.from(chunks, { objectMode: false });
      expect(await readAll(readThrough(open(), verifyStream(describeBytes(content))))).toEqual(Buffer.from(content));
      if (Buffer.from(content).equals(other)) return;
      const { seen, error } = await outcomeOf(readThrough(open(), verifyStream(describeBytes(other))));
      expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      expect(seen).toBeLessThan(Math.max(other.length, 1));
    }),
  );
});

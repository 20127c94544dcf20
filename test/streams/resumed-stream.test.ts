import { PassThrough, Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { type Failure, type Opened, openResumed, type ResumeOptions } from '../../src/streams/resumed-stream.ts';
import { readAll } from '../support/bytes.ts';

const TEXT = 'The quick brown fox jumps over the lazy dog';
const broken = new Error('the connection broke');

/** Bytes `from`–`to` of the text, then perhaps an error. */
function body(from: number, to = TEXT.length, error?: Error): Readable {
  return Readable.from(
    (async function* () {
      for (let at = from; at < to; at += 5) yield Buffer.from(TEXT.slice(at, Math.min(at + 5, to)));
      if (error) throw error;
    })(),
  );
}

async function read(
  open: (offset: number) => Opened | Promise<Opened>,
  more: Partial<ResumeOptions> & { readonly length?: number | undefined } = {},
) {
  const { length, ...options } = { length: TEXT.length, ...more };
  const offsets: number[] = [];
  const failures: Failure[] = [];
  const stream = await openResumed(
    {
      open: async (offset) => {
        offsets.push(offset);
        return open(offset);
      },
      size: () => length,
      endedAt: (position) => new Error(`ended at ${position}`),
      retry: async (failure) => {
        failures.push(failure);
        if (failure.fruitless >= 3) throw failure.error;
      },
      ...options,
    },
    new PassThrough(),
  );
  return { stream, offsets, failures, text: async () => (await readAll(stream)).toString() };
}

describe('a download', () => {
  it('that is whole is opened once', async () => {
    const { text, offsets, failures } = await read((offset) => ({ body: body(offset) }));
    expect(await text()).toBe(TEXT);
    expect({ offsets, failures }).toEqual({ offsets: [0], failures: [] });
  });

  it('goes on where it broke off, and where it ended too soon', async () => {
    const ends = new Map([
      [0, { body: body(0, 7, broken) }],
      [7, { body: body(7, 20) }],
    ]);
    const { text, offsets, failures } = await read((offset) => ends.get(offset) ?? { body: body(offset) });
    expect(await text()).toBe(TEXT);
    expect(offsets).toEqual([0, 7, 20]);
    expect(failures).toEqual([
      { error: broken, fruitless: 1, opening: false },
      { error: new Error('ended at 20'), fruitless: 1, opening: false },
    ]);
  });

  it('leaves out what a source gives again', async () => {
    const { text } = await read((offset) =>
      offset === 0 ? { body: body(0, 12, broken) } : { body: body(0), skip: offset },
    );
    expect(await text()).toBe(TEXT);
  });

  it('ends at its size where it is to be cut, and else passes on what is too much', async () => {
    // Nobody waits for what lies behind.
    const endless = new PassThrough();
    endless.write(TEXT);
    expect(await (await read(() => ({ body: endless }), { length: 12, cut: true })).text()).toBe(TEXT.slice(0, 12));
    const open = () => ({ body: body(0) });
    expect(await (await read(open, { length: 12 })).text()).toBe(TEXT);
  });

  it('counts failures in a row without a byte, those to open it included', async () => {
    const { text, failures } = await read((offset) => {
      if (offset === 0) return { body: body(0, 10, broken) };
      if (failures.length === 2) return { body: body(10, 10, broken) };
      throw new Error('no answer');
    });
    await expect(text()).rejects.toThrow('the connection broke');
    expect(failures.map(({ fruitless, opening }) => [fruitless, opening])).toEqual([
      [1, false],
      [2, true],
      [3, false],
    ]);
  });

  it('whose size nobody knows is not resumed', async () => {
    const { text, offsets } = await read((offset) => ({ body: body(offset, 10, broken) }), {
      length: undefined,
      retry: undefined as never,
    });
    await expect(text()).rejects.toThrow('the connection broke');
    expect(offsets).toEqual([0]);
  });

  it('that cannot be opened at first is an error at once', async () => {
    const open = () => Promise.reject(new Error('not there'));
    await expect(read(open)).rejects.toThrow('not there');
  });

  it.each([
    ['destroyed', 'before its first read'],
    ['aborted', 'before its first read'],
    ['destroyed', 'while it is read'],
  ])('that is %s %s closes its source, and ends its request', async (how, when) => {
    const source = new PassThrough();
    const abort = new AbortController();
    let stop: AbortSignal | undefined;
    const open = async (_offset: number, signal: AbortSignal): Promise<Opened> => {
      stop = signal;
      return { body: source };
    };
    const { stream } = await read(() => ({ body: source }), { open, signal: abort.signal });
    stream.on('error', () => undefined);
    if (when === 'while it is read') {
      source.write('The');
      await new Promise((resolve) => stream.once('data', resolve));
    }
    if (how === 'aborted') abort.abort(new Error('enough'));
    else stream.destroy();
    await expect.poll(() => [source.destroyed, stop?.aborted]).toEqual([true, true]);
  });
});

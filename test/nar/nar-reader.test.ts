import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { packNarListing } from '../../src/nar/nar-listing.ts';
import { NarParser } from '../../src/nar/nar-parser.ts';
import { NarLister, verifyNar } from '../../src/nar/nar-reader.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { MAX_LISTING_NODES } from '../../src/nix/nar-info.ts';
import { GOLDEN_TREES, nested } from '../support/file-tree.ts';
import { listingText, narOf, tokens, u64 } from '../support/nar.ts';
import { fileTree } from '../support/nix-arbitraries.ts';

const golden = (name: string): Buffer => readFileSync(new URL(`../golden/${name}`, import.meta.url));

/** All events, with a file's contents joined into one piece, which shows the same however it was chunked. */
function parse(...chunks: readonly Uint8Array[]): unknown[] {
  const parser = new NarParser();
  const events: unknown[] = [];
  let contents: Buffer[] = [];
  const flush = (): void => {
    if (contents.length > 0) events.push(Buffer.concat(contents).toString('latin1'));
    contents = [];
  };
  for (const chunk of chunks) {
    for (const event of parser.push(chunk)) {
      if (event.type === 'contents') contents.push(Buffer.from(event.bytes));
      else {
        flush();
        events.push(event);
      }
    }
  }
  flush();
  parser.end();
  return events;
}

const singleBytes = (bytes: Buffer): Buffer[] => Array.from(bytes, (_byte, at) => bytes.subarray(at, at + 1));

async function* stream(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

describe('a NAR', () => {
  it('is a stream of events', () => {
    expect(parse(golden('nar/tree.nar'))).toEqual([
      { type: 'directory', path: '' },
      { type: 'regular', path: 'README', executable: false, size: 8, narOffset: 232 },
      'read me\n',
      { type: 'directory', path: 'bin' },
      { type: 'regular', path: 'bin/hello', executable: true, size: 21, narOffset: 592 },
      '#!/bin/sh\necho hello\n',
      { type: 'symlink', path: 'bin/hi', target: 'hello' },
      { type: 'leave', path: 'bin' },
      { type: 'regular', path: 'empty', executable: false, size: 0, narOffset: 1024 },
      { type: 'directory', path: 'share' },
      { type: 'directory', path: 'share/doc' },
      { type: 'leave', path: 'share/doc' },
      { type: 'leave', path: 'share' },
      { type: 'leave', path: '' },
    ]);
  });

  it('may have names and targets that are not UTF-8', () => {
    expect(parse(golden('nar/names-not-utf8.nar'))).toContainEqual({
      type: 'symlink',
      path: 'link',
      target: '\udcff/caf\udce9',
    });
  });

  it.each(Object.keys(GOLDEN_TREES))('%s has the hash and size that Nix says', async (name) => {
    const nar = golden(`nar/${name}.nar`);
    const hashes = golden('nar/hashes.txt').toString().split('\n');
    const { narHash, narSize } = await verifyNar(stream(nar));
    expect(hashes).toContain(`${name} ${narHash.replace('sha256:', '')}`);
    expect(narSize).toBe(nar.length);
  });

  it('has the listing that Nix writes', async () => {
    const { listing } = await verifyNar(stream(golden('nar/tree.nar')), { withListing: true });
    expect(listing && listingText(listing)).toBe(golden('listing/tree.ls').toString());
  });

  it.each(Object.keys(GOLDEN_TREES))('%s reads the same byte by byte', (name) => {
    const nar = golden(`nar/${name}.nar`);
    expect(parse(...singleBytes(nar))).toEqual(parse(nar));
  });

  it.each(Object.keys(GOLDEN_TREES))('%s is refused when cut off anywhere', (name) => {
    const nar = golden(`nar/${name}.nar`);
    for (let length = 0; length < nar.length; length++) {
      expect(() => parse(nar.subarray(0, length))).toThrow(`NAR is corrupt at byte ${length}: it ends too early`);
    }
  });

  it('hands contents through as views of the chunks it was given', () => {
    const nar = narOf({ contents: Buffer.alloc(100_000, 'x') });
    const parser = new NarParser();
    const [, contents] = parser.push(nar);
    expect(contents).toMatchObject({ type: 'contents' });
    if (contents?.type !== 'contents') expect.unreachable();
    expect(contents.bytes.buffer).toBe(nar.buffer);
    expect(contents.bytes).toHaveLength(100_000);
  });

  it('may hold a file of any size in bounded memory', () => {
    const parser = new NarParser();
    const size = 2 ** 40;
    const start = Buffer.concat([tokens('nix-archive-1', '(', 'type', 'regular', 'contents'), u64(size)]);
    expect(parser.push(start)).toEqual([
      { type: 'regular', path: '', executable: false, size, narOffset: start.length },
    ]);
    const chunk = Buffer.alloc(1 << 20);
    for (let i = 0; i < 64; i++) expect(parser.push(chunk)).toHaveLength(1);
  });

  it('may be nested 64 levels deep', () => {
    expect(parse(narOf(nested(63, { contents: 'x' })))).toHaveLength(63 * 2 + 2);
  });

  it('ends its source at the first byte that is wrong', async () => {
    const nar = Buffer.from(golden('nar/tree.nar'));
    nar[100] = 0xff;
    let read = 0;
    let ended = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (const byte of singleBytes(nar)) {
          read++;
          yield byte;
        }
      } finally {
        ended = true;
      }
    }
    await expect(verifyNar(source())).rejects.toMatchObject({ code: 'ERR_FORMAT' });
    expect(ended).toBe(true);
    expect(read).toBeLessThan(nar.length);
  });

  it('passes on what its source throws', async () => {
    const source = async function* (): AsyncGenerator<Uint8Array> {
      yield golden('nar/tree.nar').subarray(0, 100);
      throw new Error('cut off');
    };
    await expect(verifyNar(source())).rejects.toThrow('cut off');
  });
});

/** A directory with `names`, in the order given. */
const directory = (...names: readonly (string | Uint8Array)[]): Buffer =>
  Buffer.concat([
    tokens('nix-archive-1', '(', 'type', 'directory'),
    ...names.map((name) => tokens('entry', '(', 'name', name, 'node', '(', 'type', 'symlink', 'target', 'x', ')', ')')),
    tokens(')'),
  ]);

const regular = (...parts: readonly (string | Uint8Array)[]): Buffer =>
  tokens('nix-archive-1', '(', 'type', 'regular', ...parts);

const raw = (...parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts);

describe('as Nix 2.35 does, a NAR', () => {
  it.each([
    ['whose one byte is padded with zeros', regular('contents', 'x', ')')],
    ['with a name of 255 bytes', directory('x'.repeat(255))],
    ['with a target of 4095 bytes', tokens('nix-archive-1', '(', 'type', 'symlink', 'target', 'x'.repeat(4095), ')')],
    ['with names that sort by bytes only', directory('\ufffd', '\u{10000}')],
    ['with a newline, a backslash and dots in names', directory('\n', '...', '.a', '\\')],
    ['with names that differ only in case', directory('A', 'a')],
  ])('%s is taken', (_what, nar) => {
    expect(parse(nar)).toEqual(parse(...singleBytes(nar)));
  });

  it.each([
    ['that is empty', Buffer.alloc(0), 0],
    ['of another version', tokens('nix-archive-2', '(', 'type', 'directory', ')'), 0],
    ['that is no NAR', Buffer.from('<!doctype html><html></html>'), 0],
    ['whose first word is longer', tokens('nix-archive-12', '(', 'type', 'directory', ')'), 0],
    ['without a node', tokens('nix-archive-1', ')'), 24],
    ['of an unknown type', tokens('nix-archive-1', '(', 'type', 'socket', ')'), 56],
    ['of no type', tokens('nix-archive-1', '(', 'regular', 'contents', '', ')'), 40],
    ['with a type twice', tokens('nix-archive-1', '(', 'type', 'regular', 'type', 'regular', 'contents', '', ')'), 72],
    ['with the entry name ""', directory(''), 0],
    ['with the entry name .', directory('.'), 0],
    ['with the entry name ..', directory('..'), 0],
    ['with a slash in a name', directory('a/b'), 0],
    ['with a NUL in a name', directory('a\0b'), 0],
    ['with a name of 256 bytes', directory('x'.repeat(256)), 0],
    ['with unsorted names', directory('b', 'a'), 0],
    ['with names in UTF-16 order', directory('\u{10000}', '\ufffd'), 0],
    ['with a name twice', directory('a', 'a'), 0],
    ['with a name that is a prefix, behind', directory('ab', 'a'), 0],
    ['whose file is executable after its contents', regular('contents', 'x', 'executable', '', ')'), 0],
    ['whose executable marker is not empty', regular('executable', 'x', 'contents', 'x', ')'), 0],
    ['that is executable twice', regular('executable', '', 'executable', '', 'contents', 'x', ')'), 0],
    ['with contents twice', regular('contents', 'x', 'contents', 'x', ')'), 0],
    ['with no contents', regular(')'), 0],
    ['with another word in place of contents', regular('content', 'x', ')'), 0],
    [
      'with a name after the node',
      tokens(
        'nix-archive-1',
        '(',
        'type',
        'directory',
        'entry',
        '(',
        'node',
        '(',
        'type',
        'directory',
        ')',
        'name',
        'a',
        ')',
        ')',
      ),
      0,
    ],
    [
      'with an entry that has no node',
      tokens('nix-archive-1', '(', 'type', 'directory', 'entry', '(', 'name', 'a', ')', ')'),
      0,
    ],
    [
      'with an entry that is not closed',
      tokens(
        'nix-archive-1',
        '(',
        'type',
        'directory',
        'entry',
        '(',
        'name',
        'a',
        'node',
        '(',
        'type',
        'directory',
        ')',
        'entry',
        '(',
        'name',
        'b',
        'node',
        '(',
        'type',
        'directory',
        ')',
        ')',
        ')',
      ),
      0,
    ],
    ['without a target', tokens('nix-archive-1', '(', 'type', 'symlink', ')'), 0],
    ['with an empty target', tokens('nix-archive-1', '(', 'type', 'symlink', 'target', '', ')'), 0],
    ['with a NUL in a target', tokens('nix-archive-1', '(', 'type', 'symlink', 'target', 'a\0b', ')'), 0],
    [
      'with a target of 4096 bytes',
      tokens('nix-archive-1', '(', 'type', 'symlink', 'target', 'x'.repeat(4096), ')'),
      0,
    ],
    [
      'whose padding of contents is not zero',
      raw(
        tokens('nix-archive-1', '(', 'type', 'regular', 'contents'),
        u64(1),
        Buffer.from('x\0\0\0\0\0\0x'),
        tokens(')'),
      ),
      0,
    ],
    ['whose padding of a word is not zero', raw(tokens('nix-archive-1'), u64(1), Buffer.from('(x\0\0\0\0\0\0')), 24],
    [
      'whose padding of a name is not zero',
      raw(
        tokens('nix-archive-1', '(', 'type', 'directory', 'entry', '(', 'name'),
        u64(1),
        Buffer.from('ax\0\0\0\0\0\0'),
      ),
      0,
    ],
    ['with a word of 33 bytes', tokens('nix-archive-1', '(', 'type', 'x'.repeat(33)), 56],
    ['with a word of 2^63 bytes', raw(tokens('nix-archive-1'), u64(2n ** 63n)), 24],
    ['with a file of 2^64-1 bytes', raw(regular('contents'), u64(2n ** 64n - 1n)), 0],
    ['that is nested 65 levels deep', narOf(nested(64, { contents: 'x' })), 0],
    ['that is closed twice', tokens('nix-archive-1', '(', 'type', 'directory', ')', ')'), 96],
    ['with a zero byte behind it', raw(directory(), Buffer.alloc(1)), 0],
    ['with another NAR behind it', raw(directory(), directory()), 0],
  ])('%s is refused', (_what, nar, offset) => {
    for (const chunks of [[nar], singleBytes(nar)]) {
      expect(() => parse(...chunks)).toThrow(
        expect.objectContaining({
          code: 'ERR_FORMAT',
          message: expect.stringMatching(
            offset > 0 ? `^NAR is corrupt at byte ${offset}: ` : /^NAR is corrupt at byte \d+: /,
          ),
        }),
      );
    }
  });

  it('says what stands where', () => {
    expect(() => parse(directory('b', '\udcff\n/'))).toThrow("'\\u{dcff}\\u{a}/' cannot name a file");
    expect(() => parse(regular('content'))).toThrow(
      "NAR is corrupt at byte 72: 'content' stands where 'executable' or 'contents' belongs",
    );
  });
});

/** `bytes`, cut at places that `cuts` (0 to 1) chooses. */
function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((at) => Math.floor(at * bytes.length)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, at) => bytes.subarray(places[at], end));
}

test('a NAR reads the same however it is chunked', () => {
  fc.assert(
    fc.property(fileTree(), fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 20 }), (tree, cuts) => {
      const nar = narOf(tree);
      expect(parse(...cut(nar, cuts))).toEqual(parse(nar));
    }),
  );
});

test('verifyNar says the hash and size of what it read', async () => {
  await fc.assert(
    fc.asyncProperty(fileTree(), async (tree) => {
      const nar = narOf(tree);
      const narHash = hashFromBytes(createHash('sha256').update(nar).digest());
      expect(await verifyNar(stream(nar))).toEqual({ narHash, narSize: nar.length });
    }),
  );
});

test('one changed byte never makes the parser throw anything but ERR_FORMAT', () => {
  fc.assert(
    fc.property(fileTree(), fc.nat(), fc.integer({ min: 1, max: 255 }), (tree, place, change) => {
      const nar = narOf(tree);
      const at = place % nar.length;
      nar[at] = (nar[at] ?? 0) ^ change;
      try {
        parse(nar);
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});

test('arbitrary bytes never make the parser throw anything but ERR_FORMAT', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, withStart) => {
      const start = withStart ? [tokens('nix-archive-1', '(', 'type')] : [];
      expect(() => parse(...start, bytes)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
    }),
  );
});

describe('a listing of more files than may be', () => {
  it('is given up, with what was kept of it', () => {
    const lister = new NarLister();
    lister.add([{ type: 'directory', path: '' }]);
    const file = { type: 'regular', executable: false, size: 0, narOffset: 0 } as const;
    for (let n = 0; n < MAX_LISTING_NODES; n++) lister.add([{ ...file, path: String(n) }]);
    lister.add([{ type: 'leave', path: '' }]);
    expect(lister.root()).toBeUndefined();
    expect(packNarListing(lister.root())).toBeUndefined();
  });

  it('is given up for the length of its names and targets too', () => {
    const lister = new NarLister();
    lister.add([{ type: 'directory', path: '' }]);
    const target = 'x'.repeat(4095);
    for (let n = 0; n < 20_000; n++) lister.add([{ type: 'symlink', path: String(n), target }]);
    expect(lister.root()).toBeUndefined();
  });
});

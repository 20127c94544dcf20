import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { NarParser } from '../../src/nar/nar-parser.ts';
import { NarLister } from '../../src/nar/nar-reader.ts';
import { NarWriter, type NarWriterOptions } from '../../src/nar/nar-writer.ts';
import { type FileTree, GOLDEN_TREES, nested, plantTree } from '../support/file-tree.ts';
import { listingText, narOf } from '../support/nar.ts';
import { fileTree } from '../support/nix-arbitraries.ts';
import { tempDir } from '../support/temp-dir.ts';

const golden = (name: string): Buffer => readFileSync(new URL(`../golden/${name}`, import.meta.url));

const SMALLEST = { buffer: Buffer.alloc(64 * 1024) };

function dump(path: string | Buffer, options?: NarWriterOptions): Buffer {
  return Buffer.concat(Array.from(new NarWriter(path, options), (chunk) => Buffer.from(chunk)));
}

async function plant(tree: FileTree): Promise<string> {
  const path = join(await tempDir(), 'tree');
  plantTree(path, tree);
  return path;
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

describe('the NAR of a tree', () => {
  it.each(Object.keys(GOLDEN_TREES))('%s is byte for byte that of nix-store --dump', async (name) => {
    const path = await plant(GOLDEN_TREES[name] ?? { contents: '' });
    expect(dump(path).equals(golden(`nar/${name}.nar`))).toBe(true);
  });

  it('comes with the listing that Nix writes', async () => {
    const nar = new NarWriter(await plant(GOLDEN_TREES['tree'] ?? { contents: '' }), { withListing: true });
    expect(nar.listing).toBeUndefined();
    for (const _chunk of nar) expect(nar.listing).toBeUndefined();
    expect(nar.listing && listingText(nar.listing)).toBe(golden('listing/tree.ls').toString());
    expect(nar.narSize).toBe(golden('nar/tree.nar').length);
  });

  it('may be taken of a path that is not UTF-8', async () => {
    const path = Buffer.concat([Buffer.from(join(await tempDir(), 'x')), Buffer.of(0xff)]);
    plantTree(path, GOLDEN_TREES['names-not-utf8'] ?? { contents: '' });
    expect(dump(path).equals(golden('nar/names-not-utf8.nar'))).toBe(true);
  });

  it('may be 200 levels deep', async () => {
    const tree = nested(200, { contents: 'x' });
    expect(dump(await plant(tree)).equals(narOf(tree))).toBe(true);
  });

  it.each([
    ['alone', 'x', (contents: string): FileTree => ({ contents })],
    [
      'in a directory',
      'x/b',
      (contents: string): FileTree => ({
        entries: [
          ['b', { contents }],
          ['c', { contents: 'z' }],
        ],
      }),
    ],
  ])('may hold a file %s of any size about which it fills a chunk', async (_where, file, treeOf) => {
    const directory = await tempDir();
    plantTree(join(directory, 'x'), treeOf(''));
    for (let size = 65_100; size < 65_560; size++) {
      const contents = 'abcdefg'.repeat(10_000).slice(0, size);
      writeFileSync(join(directory, file), contents);
      expect(dump(join(directory, 'x'), SMALLEST).equals(narOf(treeOf(contents))), `${size} bytes`).toBe(true);
    }
  });

  it('may hold a file of many chunks', async () => {
    const tree: FileTree = {
      entries: [
        ['a', { contents: Buffer.alloc(3_000_001, 'abcdefg') }],
        ['b', { contents: 'z' }],
      ],
    };
    expect(dump(await plant(tree)).equals(narOf(tree))).toBe(true);
  });

  it('comes in few chunks, all of them views of the one buffer', async () => {
    const files = Array.from({ length: 600 }, (_, at) => [`file${at}`, { contents: 'x'.repeat(at * 5) }] as const);
    const nar = new NarWriter(await plant({ entries: files }));
    const chunks = Array.from(nar, ({ buffer, length }) => ({ buffer, length }));
    expect(new Set(chunks.map(({ buffer }) => buffer)).size).toBe(1);
    expect(chunks.length).toBeLessThan(nar.narSize / (200 * 1024));
  });

  it('undoes the case hack where it is in use', async () => {
    const path = await plant({
      entries: [
        ['A', { contents: '1' }],
        ['a~nix~case~hack~1', { contents: '2' }],
        ['a!', { contents: '3' }],
      ],
    });
    const clean = narOf({
      entries: [
        ['A', { contents: '1' }],
        ['a', { contents: '2' }],
        ['a!', { contents: '3' }],
      ],
    });
    expect(dump(path, { caseHack: true }).equals(clean)).toBe(true);
    expect(dump(path, { caseHack: false }).equals(clean)).toBe(false);
    writeFileSync(join(path, 'a'), 'x');
    expect(() => dump(path, { caseHack: true })).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

describe('no NAR is made', () => {
  it('of what is not there', async () => {
    const path = join(await tempDir(), 'absent');
    expect(() => dump(path)).toThrow(
      expect.objectContaining({ code: 'ERR_NOT_FOUND', message: expect.stringContaining(path) }),
    );
  });

  it('of a socket', async () => {
    const path = await plant({ entries: [] });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(path, 'sock'), resolve));
    try {
      expect(() => dump(path)).toThrow(
        expect.objectContaining({ code: 'ERR_FORMAT', message: expect.stringMatching(/tree\/sock' is a socket/) }),
      );
      expect(() => dump(join(path, 'sock'))).toThrow(/is a socket/);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  it('of a named pipe, and nobody waits for a writer', async () => {
    const path = await plant({ entries: [] });
    await execa('mkfifo', [join(path, 'pipe')]);
    expect(() => dump(path)).toThrow(
      expect.objectContaining({ code: 'ERR_FORMAT', message: expect.stringMatching(/tree\/pipe' is a named pipe/) }),
    );
  });

  it('of a device', () => {
    expect(() => dump('/dev/null')).toThrow(
      expect.objectContaining({ code: 'ERR_FORMAT', message: expect.stringMatching(/'\/dev\/null' is a device/) }),
    );
  });

  it('in a buffer too small for a node', () => {
    expect(() => new NarWriter('/dev/null', { buffer: Buffer.alloc(1024) })).toThrow(RangeError);
  });

  it.each([
    ['grows', (path: string) => appendFileSync(path, 'x')],
    ['shrinks', (path: string) => truncateSync(path, 100_000)],
    ['is emptied', (path: string) => truncateSync(path)],
  ])('of a large file that %s meanwhile, and nothing stays open', async (_what, change) => {
    const path = await plant({ contents: Buffer.alloc(300_000) });
    const before = openFiles();
    const nar = new NarWriter(path, SMALLEST);
    nar.next();
    expect(openFiles()).toBe(before + 1);
    change(path);
    expect(() => [...nar]).toThrow(
      expect.objectContaining({ code: 'ERR_NAR_MISMATCH', message: expect.stringContaining(path) }),
    );
    expect(openFiles()).toBe(before);
    expect(nar.next()).toEqual({ done: true, value: undefined });
    expect(nar.listing).toBeUndefined();
  });

  // Files of the kernel never have the size that they say they have.
  it.each([
    ['more', '/proc/self/status'],
    ['fewer', '/sys/kernel/mm/transparent_hugepage/enabled'],
  ])('of a small file that has %s bytes than it says', (_what, path) => {
    const before = openFiles();
    expect(() => dump(path)).toThrow(expect.objectContaining({ code: 'ERR_NAR_MISMATCH' }));
    expect(openFiles()).toBe(before);
  });

  it('to its end when the reader leaves, and then nothing stays open', async () => {
    const path = await plant({ contents: Buffer.alloc(300_000) });
    const before = openFiles();
    const nar = new NarWriter(path, { ...SMALLEST, withListing: true });
    for (const chunk of nar) if (chunk.length > 0) break;
    expect(openFiles()).toBe(before);
    expect(nar.listing).toBeUndefined();
    expect([...nar]).toEqual([]);
  });
});

test('a tree that is written and read is the same tree', async () => {
  const directory = await tempDir();
  let count = 0;
  fc.assert(
    fc.property(fileTree(), (tree) => {
      const place = join(directory, `${count++}`);
      mkdirSync(place);
      plantTree(join(place, 'tree'), tree);
      const nar = new NarWriter(join(place, 'tree'), { withListing: true });
      const hash = createHash('sha256');
      const lister = new NarLister();
      const parser = new NarParser();
      for (const chunk of nar) {
        hash.update(chunk);
        lister.add(parser.push(chunk));
      }
      parser.end();
      expect(hash.digest('hex')).toBe(createHash('sha256').update(narOf(tree)).digest('hex'));
      expect(lister.root()).toEqual(nar.listing);
    }),
  );
});

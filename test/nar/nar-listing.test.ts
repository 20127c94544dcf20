import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { type NarNode, packNarListing, parseNarListing } from '../../src/nar/nar-listing.ts';
import { NarParser } from '../../src/nar/nar-parser.ts';
import { NarLister } from '../../src/nar/nar-reader.ts';
import { listingText, narOf } from '../support/nar.ts';
import { fileTree } from '../support/nix-arbitraries.ts';

const GOLDEN = readFileSync(new URL('../golden/listing/tree.ls', import.meta.url), 'utf8');

const root = (node: unknown): string => JSON.stringify({ version: 1, root: node });
const entries = (names: Readonly<Record<string, unknown>>): string => root({ type: 'directory', entries: names });

describe('a NAR listing', () => {
  it('made by Nix comes back as the same bytes', () => {
    expect(listingText(parseNarListing(GOLDEN))).toBe(GOLDEN);
  });

  it('is packed as long as a server will hold it, in bytes of its text', () => {
    const node = parseNarListing(entries({ ümläut: { type: 'symlink', target: '→' } }));
    const bytes = Buffer.byteLength(listingText(node));
    expect(zstdDecompressSync(packNarListing(node, bytes) ?? '').toString()).toBe(listingText(node));
    expect(packNarListing(node, bytes - 1)).toBeUndefined();
    expect(packNarListing(node, 10)).toBeUndefined();
    expect(packNarListing(node)).toBeDefined();
  });

  it('may have 64 MiB', () => {
    const rest = 64 * 1024 * 1024 - listingText({ type: 'symlink', target: '' }).length;
    expect(packNarListing({ type: 'symlink', target: 'x'.repeat(rest) })).toBeDefined();
    expect(packNarListing({ type: 'symlink', target: 'x'.repeat(rest + 1) })).toBeUndefined();
  });

  it('is read as Nix since 2.35 writes it, and with keys we do not know', () => {
    const file = { size: 1, narOffset: 96, type: 'regular', executable: false, mode: 1 };
    expect(parseNarListing(JSON.stringify({ root: file, version: 1, x: [] }))).toEqual({
      type: 'regular',
      size: 1,
      executable: false,
      narOffset: 96,
    });
    expect(parseNarListing(root({ type: 'regular', size: 1 }))).toEqual({
      type: 'regular',
      size: 1,
      executable: false,
    });
  });

  it('takes any name for a name', () => {
    const text = '{"version":1,"root":{"type":"directory","entries":{"__proto__":{"type":"symlink","target":"x"}}}}';
    const node = parseNarListing(text);
    expect(node.type === 'directory' && [...node.entries.keys()]).toEqual(['__proto__']);
    expect(listingText(node)).toBe(text);
  });

  it('writes bytes that are not UTF-8 as JSON that comes back as the same bytes', () => {
    const node: NarNode = {
      type: 'directory',
      entries: new Map([['caf\udce9', { type: 'symlink', target: '\udcff' }]]),
    };
    const text = listingText(node);
    expect(text).toContain('{"caf\\udce9":{"type":"symlink","target":"\\udcff"}}');
    expect(Buffer.from(text).toString()).toBe(text);
    expect(parseNarListing(text)).toEqual(node);
  });

  it('may be nested 1000 levels deep, and is not followed without end', () => {
    const deep = (levels: number): string =>
      `{"version":1,"root":${'{"type":"directory","entries":{"d":'.repeat(levels)}{"type":"symlink","target":"x"}${'}}'.repeat(levels)}}`;
    expect(listingText(parseNarListing(deep(1000)))).toBe(deep(1000));
    expect(() => parseNarListing(deep(100_000))).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '{"version":2,"root":{"type":"directory","entries":{}}}',
    '{"version":1}',
    root(null),
    root({}),
    root({ type: 'socket' }),
    root({ type: 'directory' }),
    root({ type: 'directory', entries: [] }),
    root({ type: 'regular' }),
    root({ type: 'regular', size: -1 }),
    root({ type: 'regular', size: 1.5 }),
    root({ type: 'regular', size: '1' }),
    root({ type: 'regular', size: 1, narOffset: -1 }),
    root({ type: 'symlink' }),
    root({ type: 'symlink', target: 1 }),
    ...['', '.', '..', 'a/b', 'a\0'].map((name) => entries({ [name]: { type: 'symlink', target: 'x' } })),
    entries({ a: null }),
  ])('is not read from %s', (text) => {
    expect(() => parseNarListing(text)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

test('a listing comes back as it was written', () => {
  fc.assert(
    fc.property(fileTree(), (tree) => {
      const lister = new NarLister();
      lister.add(new NarParser().push(narOf(tree)));
      const root = lister.root();
      if (!root) throw new Error('no listing');
      const text = listingText(root);
      expect(parseNarListing(text)).toEqual(root);
      expect(JSON.parse(text)).toMatchObject({ version: 1 });
    }),
  );
});

test('parseNarListing throws nothing but ERR_FORMAT', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), fc.jsonValue().map(root)), (text) => {
      try {
        parseNarListing(text);
      } catch (error) {
        expect(isNixcacheError(error, 'ERR_FORMAT')).toBe(true);
      }
    }),
  );
});

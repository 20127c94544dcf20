import { expect, test } from 'vitest';
import type { Entry } from '../../src/cache-index/entry.ts';
import { EntryGraph } from '../../src/census/entry-graph.ts';
import { hashFromHex } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { type BaseName, hashPartOf, parseBaseName, toStorePath } from '../../src/nix/store-path.ts';

const HASH = hashFromHex('00'.repeat(32));

function baseNameAt(number: number): BaseName {
  const hash = Buffer.alloc(20);
  hash.writeUInt32LE(number);
  return parseBaseName(`${encode(hash)}-n`);
}

const entryOf = (name: BaseName, references: readonly BaseName[]): { entry: Entry } => ({
  entry: {
    narInfo: {
      ...{ path: toStorePath(name), url: 'nar/x', compression: 'none', fileHash: HASH, fileSize: 1 },
      ...{ narHash: HASH, narSize: 1, references, sigs: [] },
    },
    nar: [],
    listing: undefined,
  },
});

test('what half a cache refers to, 150 000 paths, can be asked about', () => {
  const MANY = 150_000;
  const libc = baseNameAt(MANY);
  const entries = function* (): Generator<{ entry: Entry }> {
    for (let number = 0; number < MANY; number++) yield entryOf(baseNameAt(number), [libc]);
    yield entryOf(libc, []);
  };
  const graph = EntryGraph.of(entries());
  expect(graph.needing(hashPartOf(libc)).size).toBe(MANY + 1);
  expect(graph.dependentsOf(hashPartOf(libc))).toHaveLength(MANY);
});

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Entry } from '../../src/cache-index/entry.ts';
import { NixcacheError } from '../../src/errors.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { checkNar, type NarSource } from '../../src/verify/check-nar.ts';
import { narOf } from '../support/nar.ts';

const NAR = narOf({ contents: Buffer.from('what is in the file') });
const LISTING = { version: 1, root: { type: 'regular', size: 19, narOffset: 96 } };
const hashOf = (bytes: Buffer) => hashFromBytes(createHash('sha256').update(bytes).digest());

const entryOf = (facts: Partial<Entry['narInfo']> = {}): Entry =>
  ({ narInfo: { compression: 'none', narSize: NAR.length, narHash: hashOf(NAR), ...facts } }) as Entry;

const sourceOf = (nar: Buffer | Error, listing: unknown = LISTING): NarSource => ({
  open: async () => {
    if (nar instanceof Error) throw nar;
    return Readable.from([nar]);
  },
  fetchListing: async () => {
    if (listing instanceof Error) throw listing;
    return listing === undefined ? undefined : zstdCompressSync(JSON.stringify(listing));
  },
});

/** A stream of `bytes` that ends as one with another digest does. */
const wrong = (bytes: Buffer): NarSource => ({
  ...sourceOf(bytes),
  open: async () =>
    Readable.from(
      (async function* () {
        yield bytes;
        throw new NixcacheError('ERR_DIGEST_MISMATCH', 'other bytes');
      })(),
    ),
});

describe('checkNar', () => {
  it('finds a listing longer than the 64 MiB that can be served', async () => {
    const text = (bytes: number) => zstdCompressSync(JSON.stringify(LISTING).padEnd(bytes));
    const source = (bytes: number): NarSource => ({ ...sourceOf(NAR), fetchListing: async () => text(bytes) });
    expect(await checkNar(entryOf(), source(64 * 1024 * 1024))).toBeUndefined();
    expect(await checkNar(entryOf(), source(64 * 1024 * 1024 + 1))).toMatchObject({ kind: 'listing' });
  });

  it('finds nothing in a NAR that is as its entry says, with and without a listing, however compressed', async () => {
    expect(await checkNar(entryOf(), sourceOf(NAR))).toBeUndefined();
    expect(await checkNar(entryOf(), sourceOf(NAR, undefined))).toBeUndefined();
    expect(await checkNar(entryOf({ compression: 'zstd' }), sourceOf(zstdCompressSync(NAR)))).toBeUndefined();
  });

  it('tells what is lost, corrupt, and wrong from the start', async () => {
    const lost = new NixcacheError('ERR_NOT_FOUND', 'not there');
    const short = new NixcacheError('ERR_RANGE', 'too short');
    const garbage = Buffer.from('no NAR at all, and long enough to be read');
    expect(await checkNar(entryOf(), sourceOf(lost))).toMatchObject({ kind: 'lost' });
    expect(await checkNar(entryOf(), sourceOf(short))).toMatchObject({ kind: 'corrupt' });
    expect(await checkNar(entryOf(), wrong(garbage))).toMatchObject({ kind: 'corrupt' });
    expect(await checkNar(entryOf(), wrong(NAR))).toMatchObject({ kind: 'corrupt' });
    expect(await checkNar(entryOf(), sourceOf(garbage))).toMatchObject({ kind: 'mismatch' });
    const other = hashOf(garbage);
    expect(await checkNar(entryOf({ narHash: other }), sourceOf(NAR))).toEqual({
      kind: 'mismatch',
      message: `its NAR hash is ${hashOf(NAR)}`,
    });
    expect(await checkNar(entryOf({ narSize: NAR.length + 1 }), sourceOf(NAR))).toMatchObject({ kind: 'mismatch' });
  });

  it('never takes a network that fails for damage', async () => {
    const down = new NixcacheError('ERR_NETWORK', 'down');
    await expect(checkNar(entryOf(), sourceOf(down))).rejects.toBe(down);
    await expect(checkNar(entryOf(), sourceOf(NAR, down))).rejects.toBe(down);
    let opened = 0;
    const onceDown: NarSource = { ...sourceOf(NAR), open: () => sourceOf(opened++ === 0 ? down : NAR).open() };
    await expect(checkNar(entryOf(), onceDown)).rejects.toBe(down);
  });

  it.each<[string, unknown]>([
    ['of another size', { ...LISTING, root: { ...LISTING.root, size: 20 } }],
    ['that says executable', { ...LISTING, root: { ...LISTING.root, executable: true } }],
    ['with another offset', { ...LISTING, root: { ...LISTING.root, narOffset: 97 } }],
    ['of a symlink', { version: 1, root: { type: 'symlink', target: 'x' } }],
    ['of a directory', { version: 1, root: { type: 'directory', entries: {} } }],
    ['that is none', 'not a listing'],
    ['that is lost', new NixcacheError('ERR_NOT_FOUND', 'not there')],
    ['with another digest', new NixcacheError('ERR_DIGEST_MISMATCH', 'other')],
  ])('finds a listing %s', async (_, listing) => {
    expect(await checkNar(entryOf(), sourceOf(NAR, listing))).toMatchObject({ kind: 'listing' });
  });

  it('compares a directory name by name', async () => {
    const file = { contents: Buffer.from('x') };
    const nar = narOf({
      entries: [
        ['a', file],
        ['b', file],
      ],
    });
    const entry = entryOf({ narSize: nar.length, narHash: hashOf(nar) });
    const leaf = { type: 'regular', size: 1 };
    const of = (entries: object) => sourceOf(nar, { version: 1, root: { type: 'directory', entries } });
    expect(await checkNar(entry, of({ a: leaf, b: leaf }))).toBeUndefined();
    for (const entries of [{ a: leaf }, { a: leaf, c: leaf }, { a: leaf, b: leaf, c: leaf }]) {
      expect(await checkNar(entry, of(entries))).toMatchObject({ kind: 'listing' });
    }
  });

  it('takes a listing without offsets', async () => {
    const { narOffset: _, ...root } = LISTING.root;
    expect(await checkNar(entryOf(), sourceOf(NAR, { ...LISTING, root }))).toBeUndefined();
  });
});

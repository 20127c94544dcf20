import { createHash } from 'node:crypto';
import { type Entry, narUrl } from '../../src/cache-index/entry.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { type BaseName, type HashPart, toStorePath } from '../../src/nix/store-path.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { digestFromHex } from '../../src/oci/digest.ts';

/** Where an entry's bytes are said to lie: `packs` hold the small NARs and all listings, `nars` the others. */
export interface SharedBlobs {
  readonly packs: readonly Descriptor[];
  readonly nars: readonly Descriptor[];
}

/** The hash part of entry `number`: any program can tell what a synthetic cache has, and what it has not. */
export const hashPartAt = (number: number): HashPart => encode(chance(number).subarray(0, 20)) as HashPart;

const FIRST = 'python3.12 perl5.40 haskell rust ruby lua ocaml texlive kde gnome linux-6.12 xorg gst go node'.split(
  ' ',
);
const SECOND = 'lib core utils tools data docs parser client server codec bindings theme fonts plugin hooks'.split(' ');
const OUTPUT = ['', '', '', '', '-lib', '-dev', '-man', '-doc', '.drv', '-bin'];

export function baseNameAt(number: number): BaseName {
  const random = chance(number);
  const word = (list: readonly string[], at: number): string => list[(random[at] ?? 0) % list.length] ?? '';
  const version = `${(random[22] ?? 0) % 12}.${(random[23] ?? 0) % 30}.${(random[24] ?? 0) % 10}`;
  const output = word(OUTPUT, 25);
  const name = `${encode(random.subarray(0, 20))}-${word(FIRST, 20)}-${word(SECOND, 21)}-${version}${output}`;
  // V8 keeps what was put together as a tree of its parts, 2 KB of them, until it is looked into; a million are kept.
  return Buffer.from(name).toString('latin1') as BaseName;
}

/** Days over which the entries were last asserted, evenly. */
const ASSERTED_WITHIN_DAYS = 40;
const MAX_REFERENCES = 16;

/**
 * Entry `number` of those named `names`. It refers to some eight of lower number, to low ones by far the most often, as
 * everything refers to libc; and half of the time to itself.
 */
export function entryAt(number: number, names: readonly BaseName[], blobs: SharedBlobs, now: number): Entry {
  const random = chance(number);
  const references = new Set<BaseName>();
  const wanted = (random[26] ?? 0) % (MAX_REFERENCES + 1);
  for (let i = 0; i < wanted && number > 0; i++) {
    const at = Math.floor(number * (random.readUInt16LE(116 + 2 * i) / 0x1_0000) ** 4);
    const name = names[at];
    if (name !== undefined) references.add(name);
  }
  const name = names[number];
  if (name === undefined) throw new Error(`there is no entry ${number}`);
  if ((random[27] ?? 0) % 2 === 0) references.add(name);
  const packed = (random[28] ?? 0) % 10 < 7;
  const list = packed ? blobs.packs : blobs.nars;
  const blob = list[random.readUInt16LE(29) % list.length];
  const pack = blobs.packs[(random[31] ?? 0) % blobs.packs.length];
  if (!blob || !pack) throw new Error('there are no blobs');
  const size = packed ? 120 + (random.readUInt16LE(32) % 60_000) : blob.size;
  const offset = packed ? random.readUIntLE(34, 3) % (blob.size - size) : 0;
  const fileHash = hashFromBytes(random.subarray(52, 84));
  return {
    narInfo: {
      path: toStorePath(name),
      url: narUrl(fileHash, 'zstd'),
      compression: 'zstd',
      fileHash,
      fileSize: size,
      narHash: hashFromBytes(random.subarray(20, 52)),
      narSize: size * 3,
      references: [...references].sort(),
      deriver: names[(number * 7 + 1) % names.length],
      sigs: [`cache.example.org-1:${random.subarray(84, 148).toString('base64')}`],
    } as Entry['narInfo'],
    nar: [{ digest: blob.digest, offset, length: size }],
    listing: {
      digest: digestFromHex(random.subarray(148, 180).toString('hex')),
      extents: [{ digest: pack.digest, offset: random.readUIntLE(37, 3) % 1_000_000, length: 100 + (random[40] ?? 0) }],
    },
    asserted: Math.floor(now - (random.readUInt16LE(41) / 0x1_0000) * ASSERTED_WITHIN_DAYS * 86_400),
  };
}

/** 180 bytes that depend on nothing but `number`. */
const chance = (number: number): Buffer =>
  createHash('shake256', { outputLength: 180 }).update(`nixcache bench entry ${number}`).digest();

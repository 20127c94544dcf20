/** The files of a binary cache as `nix copy --to file://…` lays them out, with any compression. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { narUrl } from '../../src/cache-index/entry.ts';
import { hashFromBytes, type NixHash } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../src/nix/nar-info.ts';
import { type SecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { hashPartOf, toStorePath } from '../../src/nix/store-path.ts';
import { noise } from './bytes.ts';
import { baseNameFor } from './cache-builder.ts';
import { narOf } from './nar.ts';

export interface BinaryCachePath {
  readonly name: string;
  readonly references?: readonly string[];
  readonly compression?: keyof typeof COMPRESSORS;
  /** Bytes of its one file; default 100. */
  readonly bytes?: number;
  readonly key?: SecretKey;
  readonly edit?: (narInfo: NarInfo) => NarInfo;
  /** What the NAR file holds instead; undefined: there is none. */
  readonly file?: (file: Buffer) => Buffer | undefined;
}

const COMPRESSORS = {
  none: (nar: Buffer) => nar,
  xz: (nar: Buffer) => xz.compressSync(nar),
  zstd: (nar: Buffer) => zstdCompressSync(nar),
  gzip: (nar: Buffer) => gzipSync(nar),
  br: (nar: Buffer) => brotliCompressSync(nar),
  bzip2: (nar: Buffer) => pack(nar, 'bzip2', '-c'),
  lz4: (nar: Buffer) => pack(nar, 'lz4', '-c'),
  lzma: (nar: Buffer) => pack(nar, 'xz', '--format=lzma', '-c'),
} as const;

const pack = (nar: Buffer, program: string, ...args: string[]): Buffer =>
  execFileSync(program, args, { input: nar, maxBuffer: 100_000_000 });

/** The NAR of the path called `name`: the same each time. */
export const narFor = (name: string, bytes = 100): Buffer => narOf({ contents: noise(bytes, name) });

export function binaryCacheFiles(paths: readonly BinaryCachePath[]): Map<string, Buffer | string> {
  const files = new Map<string, Buffer | string>([['nix-cache-info', 'StoreDir: /nix/store\n']]);
  for (const { name, references = [], compression = 'xz', bytes, key, edit, file } of paths) {
    const nar = narFor(name, bytes);
    const packed = COMPRESSORS[compression](nar);
    const fileHash = sha256(packed);
    const info: NarInfo = {
      path: toStorePath(baseNameFor(name)),
      url: narUrl(fileHash, compression),
      compression,
      ...{ fileHash, fileSize: packed.length, narHash: sha256(nar), narSize: nar.length },
      references: references.map(baseNameFor).sort(),
      sigs: [],
    };
    const signed = { ...info, sigs: key === undefined ? [] : [signPathInfo(info, key)] };
    const narInfo = edit?.(signed) ?? signed;
    files.set(`${hashPartOf(info.path)}.narinfo`, formatNarInfo(narInfo));
    const held = file === undefined ? packed : file(packed);
    if (held !== undefined) files.set(narInfo.url, held);
  }
  return files;
}

/** Puts `files` into `directory` and gives its URL. */
export async function writeBinaryCache(
  directory: string,
  files: ReadonlyMap<string, Buffer | string>,
): Promise<string> {
  await mkdir(join(directory, 'nar'), { recursive: true });
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes);
  return pathToFileURL(directory).href;
}

const sha256 = (bytes: Buffer): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

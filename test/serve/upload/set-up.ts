/** An app that takes uploads, over a cache in memory and a directory on the disk. */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { onTestFinished } from 'vitest';
import type { CacheReader } from '../../../src/cache/read/cache-reader.ts';
import { narUrl } from '../../../src/cache-index/entry.ts';
import { hashFromBytes } from '../../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../../src/nix/nar-info.ts';
import { type BaseName, hashPartOf, parseStorePath } from '../../../src/nix/store-path.ts';
import { App } from '../../../src/serve/app.ts';
import { UploadDirectory } from '../../../src/serve/node/upload-directory.ts';
import type { ServeEvent, ServeOptions } from '../../../src/serve/serve-options.ts';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { Uploads } from '../../../src/serve/upload/uploads.ts';
import { makeTemporaryDirectory } from '../../../src/temporary-directory.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { narOf } from '../../support/nar.ts';
import { baseName, newKey } from '../set-up.ts';

export const TOKEN = '6f1ed002ab5595859014ebf0951522d9';
export const READ_TOKEN = '0cc175b9c0f1b6a831c399e269772661';
export const LOGIN = { authorization: `Bearer ${TOKEN}` };

export interface Upload {
  readonly path: string;
  readonly hashPart: string;
  /** The compressed file. */
  readonly file: Buffer;
  readonly nar: Buffer;
  readonly info: NarInfo;
  readonly narUrl: string;
  readonly narInfoUrl: string;
}

/** A path with a file of some text, as Nix uploads it. */
export function uploadOf(
  seed: number,
  { text = `text ${seed}`, references = [] as readonly string[], compression = 'zstd' as 'zstd' | 'none' } = {},
): Upload {
  const nar = narOf({ entries: [['file', { contents: text }]] });
  const file = compression === 'zstd' ? zstdCompressSync(nar) : nar;
  const path = parseStorePath(`/nix/store/${baseName(seed)}`);
  const fileHash = sha256(file);
  const url = narUrl(fileHash, compression);
  const info: NarInfo = {
    ...{ path, url, compression, fileHash, fileSize: file.length, narHash: sha256(nar), narSize: nar.length },
    ...{ references: references as readonly BaseName[], sigs: [] },
  };
  const hashPart = hashPartOf(path);
  return { path, hashPart, file, nar, info, narUrl: `/${url}`, narInfoUrl: `/${hashPart}.narinfo` };
}

export const sha256 = (bytes: Uint8Array) => hashFromBytes(createHash('sha256').update(bytes).digest());

export type Client = Awaited<ReturnType<typeof setUpUploads>>;

export async function setUpUploads({
  directory,
  reader = new MemoryCacheReader(),
  now,
  ...options
}: Partial<Omit<ServeOptions, 'reader'>> & { directory?: string | undefined; reader?: CacheReader } = {}) {
  const place = directory ?? join(await makeTemporaryDirectory('uploads-', 'a test', tmpdir()), 'uploads');
  if (directory === undefined) onTestFinished(() => rm(join(place, '..'), { recursive: true, force: true }));
  const spool = await UploadDirectory.open(place);
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (!isClosed) await spool[Symbol.asyncDispose]();
    isClosed = true;
  };
  onTestFinished(close);
  const events: ServeEvent[] = [];
  const onEvent = (event: ServeEvent): void => void events.push(event);
  const uploads = await Uploads.open({ spool, reader, onEvent, now });
  const tokens = new Tokens(
    parseTokens(`${TOKEN}\nreader read ${READ_TOKEN}`, { name: 'up', scopes: ['read', 'push'] }),
  );
  const key = newKey('serve-1');
  const app = new App({
    ...{ reader: uploads.reader(), uploads, onEvent, now, access: { tokens, isPrivate: false }, signingKeys: [key] },
    ...options,
  });
  const ask = async (method: string, path: string, headers: Record<string, string> = {}, body?: unknown) => {
    const init = { method, headers, ...(body === undefined ? {} : { body, duplex: 'half' }) } as RequestInit;
    const response = await app.fetch(new Request(`http://cache${path}`, init));
    return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
  };
  const put = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const { status, bytes } = await ask('PUT', path, { ...LOGIN, ...headers }, body);
    return { status, text: bytes.toString() };
  };
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const { status, bytes } = await ask('GET', path, headers);
    return { status, bytes, text: bytes.toString() };
  };
  /** A NAR and its narinfo, with `changes`. */
  const upload = async (upload: Upload, changes: Partial<NarInfo> = {}) => {
    const nar = await put(upload.narUrl, upload.file);
    if (nar.status !== 201) return nar;
    return put(upload.narInfoUrl, formatNarInfo({ ...upload.info, ...changes }));
  };
  return { app, ask, put, get, upload, uploads, reader, events, key, directory: place, close };
}

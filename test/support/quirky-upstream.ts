/** One small path, and caches that have it, each with a quirk of its own. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import type { TestContext } from 'vitest';
import { hashFromBytes, hashToBase32 } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../src/nix/nar-info.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { hashPartOf, type StorePath } from '../../src/nix/store-path.ts';
import { createNixClient, createNixEnv } from './nix-env.ts';

const key = generateKey('quirks-1');

interface QuirkyPath {
  readonly path: StorePath;
  readonly nar: Buffer;
}

let made: Promise<QuirkyPath> | undefined;

/** What all the caches have. */
export function quirkyPath(): Promise<QuirkyPath> {
  made ??= makePath();
  return made;
}

async function makePath(): Promise<QuirkyPath> {
  const nix = await createNixEnv();
  const options = { env: nix.env, extendEnv: false } as const;
  try {
    const expression = `builtins.toFile "quirky" "${'hello '.repeat(5000)}"`;
    const made = await execa('nix-instantiate', ['--eval', '--json', '--read-write-mode', '-E', expression], options);
    const path: StorePath = JSON.parse(made.stdout);
    const dumped = await execa('nix-store', ['--dump', join(nix.realStoreDir, basename(path))], {
      ...options,
      encoding: 'buffer',
    });
    return { path, nar: Buffer.from(dumped.stdout) };
  } finally {
    await nix.cleanup();
  }
}

const sha256 = (bytes: Buffer) => hashFromBytes(createHash('sha256').update(bytes).digest());

interface File {
  readonly body: Buffer | string;
  readonly headers?: Readonly<Record<string, string>>;
}
type Files = Map<string, File>;
/** Answers, and returns true, or leaves it to the files. */
export type Handler = (request: IncomingMessage, response: ServerResponse, seen: number) => boolean;

export interface Quirk {
  readonly name: string;
  readonly pack?: (nar: Buffer) => Buffer;
  readonly compression?: string;
  readonly info?: (info: NarInfo) => NarInfo;
  readonly text?: (text: string) => string;
  readonly files?: (files: Files, narInfo: string, nar: string) => void;
  readonly handle?: Handler;
  /** What stands between host and `/nix-cache-info`. */
  readonly base?: string;
  /** Stands in the URL, and is asked for unless `wants` says another. */
  readonly login?: string;
  /** `user:password` without which everything is 401; empty: none is asked for. */
  readonly wants?: string;
  /** Address to listen at, and the host in the URL; default 127.0.0.1. */
  readonly host?: string;
  /** PEM. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export const isNarInfo = ({ url = '' }: IncomingMessage): boolean => url.includes('.narinfo');
export const isNar = ({ url = '' }: IncomingMessage): boolean =>
  url.includes('nar/') && !isNarInfo({ url } as IncomingMessage);
export const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse): true => {
    response.writeHead(code, headers).end('no\n');
    return true;
  };
export const without =
  (...lines: string[]) =>
  (text: string): string =>
    text
      .split('\n')
      .filter((line) => !lines.some((each) => line.startsWith(`${each}:`)))
      .join('\n');

/** Of its own test: many run at a time. */
export type Cleanup = Pick<TestContext, 'onTestFinished'>;

const CHUNKED = 'x-test-chunked';
export function chunked(files: Files): void {
  for (const [url, file] of files) files.set(url, { ...file, headers: { [CHUNKED]: 'yes' } });
}

/** Starts a cache with `quirk`, as new as for a first request. */
export async function startQuirky(quirk: Quirk, { onTestFinished }: Cleanup): Promise<string> {
  const { compression = 'none', pack = (bytes) => bytes, info: edit = (info) => info, text = (same) => same } = quirk;
  const { path, nar } = await quirkyPath();
  const packed = pack(nar);
  const fileHash = sha256(packed);
  const signed = { path, narHash: sha256(nar), narSize: nar.length, references: [] };
  const info = edit({
    ...signed,
    ...{ compression, fileHash, fileSize: packed.length, url: `nar/${hashToBase32(fileHash)}.nar` },
    sigs: [signPathInfo(signed, parseSecretKey(key.secret))],
  });
  const [narInfoUrl, narUrl] = [`/${hashPartOf(path)}.narinfo`, `/${info.url.replace(/^\.\//, '')}`];
  const files: Files = new Map([
    ['/nix-cache-info', { body: 'StoreDir: /nix/store\nPriority: 40\n' }],
    [narInfoUrl, { body: text(formatNarInfo(info)) }],
    [narUrl, { body: packed }],
  ]);
  quirk.files?.(files, narInfoUrl, narUrl);
  const base = (quirk.base ?? '').replace(/\/$/, '');
  const seen = new Map<string, number>();
  const wanted = quirk.wants ?? quirk.login?.replace('@', '') ?? '';
  const answer: RequestListener = (request, response) => {
    const { method = '', url = '', headers } = request;
    const count = (seen.get(url) ?? 0) + 1;
    seen.set(url, count);
    if (wanted !== '' && headers.authorization !== `Basic ${btoa(wanted)}`) return status(401)(response);
    if (quirk.handle?.(request, response, count)) return;
    const plain = url.replace(/^\/moved/, '');
    const file = plain.startsWith(base) ? files.get(plain.slice(base.length)) : undefined;
    if (file === undefined) return status(404)(response);
    const { [CHUNKED]: isChunked, ...told } = file.headers ?? {};
    const bytes = Buffer.from(file.body);
    response.writeHead(200, { ...told, ...(isChunked ? {} : { 'content-length': String(bytes.length) }) });
    if (method === 'HEAD') return response.end();
    response.write(bytes.subarray(0, 100));
    return response.end(bytes.subarray(100));
  };
  const { host = '127.0.0.1', tls } = quirk;
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const named = host.includes(':') ? `[${host}]` : host;
  return `${tls === undefined ? 'http' : 'https'}://${quirk.login ?? ''}${named}:${port}${quirk.base ?? ''}`;
}

interface ClientSettings {
  readonly env?: Readonly<Record<string, string>>;
  /** Whether no signature is asked for; default false. */
  readonly isTrusted?: boolean;
  /** Further lines of nix.conf. */
  readonly config?: readonly string[];
}

/** Whether a Nix with an empty store gets the path from `url`, or one of several between spaces, whole and signed. */
export async function substitutes(
  url: string,
  bin: string | undefined,
  { env, isTrusted = false, config = [] }: ClientSettings = {},
): Promise<boolean> {
  const { path, nar } = await quirkyPath();
  const client = await createNixClient({ substituters: url.split(' '), publicKeys: [key.public], bin, config });
  const options = { env: { ...client.env, ...env }, extendEnv: false, timeout: 60_000, reject: false } as const;
  try {
    if ((await execa('nix-store', ['--realise', path], options)).exitCode !== 0) return false;
    const checked = await execa('nix', ['store', 'verify', ...(isTrusted ? ['--no-trust'] : []), path], options);
    const hash = await execa('nix-store', ['--query', '--hash', path], options);
    return checked.exitCode === 0 && hash.stdout === sha256(nar);
  } finally {
    await client.cleanup();
  }
}

/** A binary cache over HTTP in this process, which can be made to fail in the ways that real ones do. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { narUrl } from '../../src/cache-index/entry.ts';
import { hashFromBytes, type NixHash } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo } from '../../src/nix/nar-info.ts';
import { type SecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { type BaseName, hashPartOf, parseBaseName, toStorePath } from '../../src/nix/store-path.ts';

interface UpstreamFaults {
  /** Every answer has this status. */
  status?: number;
  /** Hears of each request, as `requests` has it, before it is answered. */
  onRequest?: (request: string) => void;
  /** Value of Retry-After in answers with `status`. */
  retryAfter?: string;
  /** For the next so many requests only; counts down. */
  times?: number;
  /** For the first so many requests for each file only. */
  timesEach?: number;
  /** Answers come this late. */
  delayMs?: number;
  /** No answer begins before. */
  answerAfter?: Promise<void>;
  /** No answer ever comes. */
  hang?: boolean;
  /** The connection is cut instead of an answer. */
  reset?: boolean;
  /** All that NARs are answered with, HTTP or not; then the connection ends. */
  raw?: string;
  /** The connection is cut after this many bytes of a NAR's body. */
  breakOffAfter?: number;
  /** How many NAR answers are cut; counts down. Default: all. */
  breakOffs?: number;
  /** For the next so many narinfos there is an HTML page, with status 200; counts down. */
  garbled?: number;
  /** Range is ignored. */
  noRanges?: boolean;
  /** Bodies travel chunked, without a length. */
  noLength?: boolean;
  /** HEAD is refused. */
  noHead?: boolean;
  etag?: string;
}

export interface FakeUpstream {
  readonly url: string;
  /** By path, with the leading slash. */
  readonly files: Map<string, Buffer | string>;
  readonly headers: Map<string, Readonly<Record<string, string>>>;
  /** `GET /path`, and ` bytes=…` with a range, in order of arrival. */
  readonly requests: string[];
  /** Authorization headers seen. */
  readonly authorizations: (string | undefined)[];
  readonly faults: UpstreamFaults;
  /** Answers under way. */
  active(): number;
  close(): Promise<void>;
}

export interface UpstreamPath {
  readonly baseName: string;
  readonly nar: Buffer;
  /** Default: as `nix copy` names it. */
  readonly url?: string;
  readonly key?: SecretKey;
  /** Leaves FileHash and FileSize out. */
  readonly terse?: boolean;
  /** Default: /nix/store. */
  readonly storeDir?: string;
}

export async function startFakeUpstream(): Promise<FakeUpstream> {
  const files = new Map<string, Buffer | string>([['/nix-cache-info', 'StoreDir: /nix/store\nPriority: 40\n']]);
  const headers = new Map<string, Readonly<Record<string, string>>>();
  const requests: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const faults: UpstreamFaults = {};
  let active = 0;
  const server = createServer((request, response) => {
    active += 1;
    response.once('close', () => {
      active -= 1;
    });
    const { method = '', url = '' } = request;
    const line = [method, url, request.headers.range].filter((part) => part !== undefined).join(' ');
    requests.push(line);
    authorizations.push(request.headers.authorization);
    faults.onRequest?.(line);
    if (faults.hang === true) return;
    if (faults.reset === true) {
      request.socket.resetAndDestroy();
      return;
    }
    if (faults.raw !== undefined && url.startsWith('/nar/')) {
      request.socket.end(faults.raw);
      return;
    }
    const asked = requests.filter((each) => each === line).length;
    void Promise.resolve(faults.answerAfter).then(() =>
      setTimeout(() => answer({ files, headers, faults, asked }, request, response), faults.delayMs ?? 0),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, files, headers, requests, authorizations, faults, active: () => active, close };
}

function answer(
  { files, headers, faults, asked }: Pick<FakeUpstream, 'files' | 'headers' | 'faults'> & { readonly asked: number },
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { method, url = '' } = request;
  const isFaulty = (faults.times ?? 1) > 0 && asked <= (faults.timesEach ?? asked);
  if (faults.status !== undefined && isFaulty) {
    if (faults.times !== undefined) faults.times -= 1;
    const { retryAfter } = faults;
    response.writeHead(faults.status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end('an error\n');
    return;
  }
  if (method === 'HEAD' && faults.noHead === true) {
    response.writeHead(405).end();
    return;
  }
  if (url.endsWith('.narinfo') && (faults.garbled ?? 0) > 0) {
    faults.garbled = (faults.garbled ?? 0) - 1;
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>One moment, please</html>\n');
    return;
  }
  const file = files.get(url);
  if (file === undefined) {
    response.writeHead(404).end('not found\n');
    return;
  }
  const bytes = Buffer.from(file);
  const [, first, last] = /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '') ?? [];
  const isPart = first !== undefined && faults.noRanges !== true;
  const start = isPart ? Number(first) : 0;
  const end = isPart && last ? Math.min(Number(last) + 1, bytes.length) : bytes.length;
  const part = bytes.subarray(start, end);
  response.writeHead(isPart ? 206 : 200, {
    ...(faults.noLength === true ? {} : { 'content-length': part.length }),
    ...(isPart ? { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` } : {}),
    ...(faults.etag === undefined ? {} : { etag: faults.etag }),
    ...headers.get(url),
  });
  if (method === 'HEAD') {
    response.end();
    return;
  }
  const { breakOffAfter, breakOffs = Number.POSITIVE_INFINITY } = faults;
  if (breakOffAfter !== undefined && url.includes('nar/') && breakOffs > 0 && breakOffAfter < part.length) {
    faults.breakOffs = breakOffs - 1;
    response.write(part.subarray(0, breakOffAfter), () => setTimeout(() => response.destroy(), 20));
    return;
  }
  response.end(part);
}

/** Puts a path into `upstream` as `nix copy` would. */
export function addPath(
  upstream: FakeUpstream,
  { baseName, nar, url, key, terse = false, storeDir }: UpstreamPath,
): NarInfo {
  const path = toStorePath(parseBaseName(baseName), storeDir);
  const fileHash = sha256(nar);
  const info = { path, narHash: fileHash, narSize: nar.length, references: [] as BaseName[] };
  const narInfo: NarInfo = {
    ...info,
    url: url ?? narUrl(fileHash, 'none'),
    compression: 'none',
    ...(terse ? {} : { fileHash, fileSize: nar.length }),
    sigs: key === undefined ? [] : [signPathInfo(info, key)],
  };
  upstream.files.set(`/${hashPartOf(path)}.narinfo`, formatNarInfo(narInfo));
  upstream.files.set(`/${narInfo.url}`, nar);
  return narInfo;
}

const sha256 = (bytes: Buffer): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

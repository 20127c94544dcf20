/** What the fake registry does with single requests, whatever they are for. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { FaultAct } from './fake-registry-faults.ts';

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly act: FaultAct | undefined;
}

export class Refused extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;

  constructor(status: number, code: string, message = code.toLowerCase(), headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function sendBlob(call: Call, stored: Buffer, digest: string): void {
  const { request, response, act } = call;
  const bytes = act?.type === 'replace' ? Buffer.from(act.body) : Buffer.from(stored);
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const start = first === undefined || act?.type === 'ignore-range' ? 0 : Number(first);
  const end =
    first === undefined || last === '' || act?.type === 'ignore-range'
      ? bytes.length
      : Math.min(Number(last) + 1, bytes.length);
  if (start >= bytes.length && bytes.length > 0) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    return;
  }
  const partial = first !== undefined && act?.type !== 'ignore-range';
  const part = bytes.subarray(start, end);
  if (act?.type === 'corrupt') corrupt(part);
  const range = partial ? { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` } : {};
  const headers = { 'content-type': 'application/octet-stream', 'docker-content-digest': digest, ...range };
  sendBytes(call, partial ? 206 : 200, headers, part);
}

/** Any other body, damaged as the fault says. */
export function sendDocument(call: Call, headers: Record<string, string>, stored: Buffer): void {
  const { act } = call;
  const bytes = act?.type === 'replace' ? Buffer.from(act.body) : Buffer.from(stored);
  if (act?.type === 'corrupt') corrupt(bytes);
  sendBytes(call, 200, headers, bytes);
}

/** In the middle, where no format has its magic number. */
function corrupt(bytes: Buffer): void {
  const at = bytes.length >> 1;
  const byte = bytes[at];
  if (byte !== undefined) bytes[at] = byte ^ 1;
}

function sendBytes({ request, response, act }: Call, status: number, headers: object, body: Buffer): void {
  // Without Content-Length, an early end cannot be told from the real one.
  const length = act?.type === 'cut' && act.how === 'end' ? {} : { 'content-length': body.length };
  response.writeHead(status, { ...headers, ...length });
  if (request.method === 'HEAD') response.end();
  else if (act?.type === 'stall') response.write(body.subarray(0, act.bytes));
  else if (act?.type === 'dribble') dribble(response, body, act.everyMs);
  else if (act?.type !== 'cut') response.end(body);
  else if (act.how === 'end') response.end(body.subarray(0, act.bytes));
  else {
    response.flushHeaders();
    // FIN and not RST, which would make the receiver throw away what it has not read yet.
    if (act.bytes === 0) request.socket.end();
    else response.write(body.subarray(0, act.bytes), () => request.socket.end());
  }
}

function dribble(response: ServerResponse, body: Buffer, everyMs: number): void {
  let at = 0;
  const timer = setInterval(() => {
    response.write(body.subarray(at, at + 1));
    at += 1;
    if (at >= body.length) response.end();
    if (at >= body.length) clearInterval(timer);
  }, everyMs);
  response.once('close', () => clearInterval(timer));
}

export function refuse(response: ServerResponse, { status, code, message, headers }: Refused): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ errors: [{ code, message, detail: {} }] }));
}

/** All of the body; or, with `limit`, at least that much of it. */
export async function readBody(request: IncomingMessage, limit = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= limit) break;
  }
  return Buffer.concat(chunks);
}

export function listen(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
}

export function hostOf(server: Server): string {
  const { port } = server.address() as AddressInfo;
  return `127.0.0.1:${port}`;
}

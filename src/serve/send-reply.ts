/** Writes a reply to a response: HEAD is GET without the body, and a body that breaks off breaks the connection. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline, type Readable } from 'node:stream';
import { isNixcacheError } from '../errors.ts';
import { verifyRange } from '../streams/verify.ts';
import { type FileBody, isFileBody, type Reply } from './answer.ts';
import type { App } from './app.ts';
import { conditionsOf } from './request.ts';

export function sendReply(app: App, request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const { body } = reply;
  if (isFileBody(body) && request.method !== 'HEAD') {
    void sendFile(app, request, response, reply, body);
    return;
  }
  writeHead(request, response, reply);
  if (body === undefined || isFileBody(body) || request.method === 'HEAD') response.end();
  else if (typeof body === 'string') response.end(body, 'latin1');
  else response.end(body);
}

async function sendFile(
  app: App,
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  body: FileBody,
): Promise<void> {
  if (response.destroyed) return; // the client left while the reply was decided
  const abort = new AbortController();
  // Also comes when all is sent, and then ends nothing.
  response.once('close', () => abort.abort());
  const target = request.url ?? '';
  let source: Readable;
  try {
    source = await body.open({ signal: abort.signal });
  } catch (error) {
    if (!response.destroyed) sendReply(app, request, response, app.failedToOpen(target, error));
    return;
  }
  if (response.destroyed) {
    source.on('error', () => {}); // no one listens any more
    source.destroy();
    return;
  }
  writeHead(request, response, reply);
  const done = (error: NodeJS.ErrnoException | null | undefined): void => {
    if (error && !isClientGone(error)) app.brokeOff(target, error);
  };
  // Ends the response only after exactly as many bytes as it announced; everything else destroys the connection.
  if (body.size === undefined) pipeline(source, response, done);
  else pipeline(source, verifyRange(body.size, target), response, done);
}

function writeHead(request: IncomingMessage, response: ServerResponse, { status, headers }: Reply): void {
  // A body that was not read would be taken for the next request.
  const last = conditionsOf(request).hasBody === true ? [...headers, 'Connection', 'close'] : headers;
  response.writeHead(status, last as string[]); // which only reads it
}

/** The client left, or we were told to stop: no failure of anyone's. */
const isClientGone = (error: NodeJS.ErrnoException): boolean =>
  isNixcacheError(error, 'ERR_INTERRUPTED') || error.name === 'AbortError' || CLIENT_GONE.has(error.code ?? '');

const CLIENT_GONE: ReadonlySet<string> = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR', 'EPIPE', 'ECONNRESET']);

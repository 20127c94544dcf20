/** The body of a request on Node: read when somebody wants it, and otherwise out of the way. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { NixcacheError } from '../../errors.ts';
import { SLOW_READER, type SlowReaderPolicy } from './limits.ts';

/** Of a body that nobody wants: so much is read, and so long, for a client that hears nothing while it sends. */
const MAX_UNWANTED_BYTES = 64 * 1024 * 1024;
const MAX_UNWANTED_MS = 5000;

/** Whether the client waits to be told to send its body. */
const isAwaiting = ({ headers }: IncomingMessage): boolean => headers.expect?.toLowerCase() === '100-continue';

/**
 * Opens the body of `request`, for which the client may be waiting to be asked. Closing it leaves the connection as it is, so
 * that an answer can still be sent.
 */
export const bodyOpener = (request: IncomingMessage, response: ServerResponse) => (): Readable => {
  if (isAwaiting(request)) response.writeContinue();
  const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  return Readable.from(paced(chunks, SLOW_READER), { objectMode: false });
};

/** Ends in an error when the client sends drop by drop; of one that sends nothing the connection times out. */
async function* paced(
  chunks: AsyncIterable<Buffer>,
  { spanMs, leastBytes }: SlowReaderPolicy,
): AsyncGenerator<Buffer, void, undefined> {
  let since = performance.now();
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    const now = performance.now();
    if (now - since > spanMs) {
      if (bytes < leastBytes) throw new NixcacheError('ERR_NETWORK', 'the body comes too slowly');
      since = now;
      bytes = 0;
    }
    yield chunk;
  }
}

/**
 * Reads what is left of the body of `request` for nobody, before it is answered: a client that is cut off while it sends does
 * not hear why. False where there is more than is worth it, or the client waits to be asked: then the connection has to end.
 */
export function passOver(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  if (request.complete || request.destroyed) return Promise.resolve(request.complete);
  // Whoever was asked to go on sends it, and whoever was not may or may not.
  if (isAwaiting(request) && !wasAsked(response)) return Promise.resolve(false);
  return new Promise((resolve) => {
    let bytes = 0;
    const end = (isComplete: boolean): void => {
      clearTimeout(timer);
      request.off('data', count);
      request.pause();
      resolve(isComplete);
    };
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > MAX_UNWANTED_BYTES) end(false);
    };
    const timer = setTimeout(() => end(false), MAX_UNWANTED_MS);
    request.on('data', count);
    request.once('end', () => end(true)).once('close', () => end(request.complete));
  });
}

const wasAsked = (response: ServerResponse): boolean => '_sent100' in response && response._sent100 === true;

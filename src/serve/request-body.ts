/** The bodies of requests, which an adapter may give as Node streams: those are faster than web streams. */
import { Readable } from 'node:stream';

const carried = new WeakMap<Request, () => Readable>();

/** Has `open` give the body of `request`, once somebody wants to read it. */
export function carryBody(request: Request, open: () => Readable): Request {
  carried.set(request, open);
  return request;
}

/** The body of `request`, to be asked for once. It ends in an error when it is cut off. */
export function openBody(request: Request): Readable {
  const body = carried.get(request)?.() ?? fromWeb(request.body);
  // It may break before anyone reads it; whoever reads it then meets the error.
  return body.on('error', () => undefined);
}

const fromWeb = (body: Request['body']): Readable =>
  body === null
    ? Readable.from([], { objectMode: false })
    : Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]);

/** From a reply to a `Response`, whose bytes an adapter may also take as a Node stream. */
import { Readable } from 'node:stream';
import { ReadoutStream } from '../streams/readout-stream.ts';
import { readThrough, verifyRange } from '../streams/verify.ts';
import { type Answer, type FileBody, isFileBody, NOT_FOUND, type Reply } from './answer.ts';
import { negotiate, wholeReply } from './negotiate.ts';

/** Hears of an answer to `path` that could not be begun, or that was cut off. */
export type ReportFailure = (path: string, error: unknown) => void;

/**
 * `answer` as `request` wants it. A body that cannot be opened makes it a miss, which Nix takes better than an error; a
 * body that breaks off, or is not as long as announced, ends in an error.
 */
export function respond(
  request: Request,
  path: string,
  answer: Answer,
  onFailure: ReportFailure,
): Response | Promise<Response> {
  const reply = negotiate(request, answer);
  const { body } = reply;
  if (request.method === 'HEAD' || body === undefined) return new Response(null, initOf(reply));
  if (!isFileBody(body)) return carry(new Response(body, initOf(reply)), body);
  return stream(
    { ...reply, body },
    request.signal,
    path,
    async (error) => {
      const next = request.signal.aborted ? undefined : await answer.otherwise?.(error);
      if (next !== undefined) return respond(request, path, next, onFailure);
      if (!request.signal.aborted) onFailure(path, error);
      return undefined;
    },
    onFailure,
  );
}

async function stream(
  reply: Reply & { readonly body: FileBody },
  signal: AbortSignal,
  path: string,
  onUnopened: (error: unknown) => Promise<Response | undefined>,
  onFailure: ReportFailure,
): Promise<Response> {
  const { size } = reply.body;
  let source: Readable | Buffer;
  try {
    source = await reply.body.open({ signal });
  } catch (error) {
    const other = await onUnopened(error);
    if (other !== undefined) return other;
    const miss = wholeReply(NOT_FOUND);
    return new Response(String(miss.body), initOf(miss));
  }
  if (Buffer.isBuffer(source)) {
    const bytes = source;
    return carry(
      new Response(
        webBody(() => Readable.from([bytes], { objectMode: false })),
        initOf(reply),
      ),
      bytes,
    );
  }
  // A readout has its length.
  const isExact = size === undefined || (source instanceof ReadoutStream && source.readout.length === size);
  const exact = isExact ? source : readThrough(source, verifyRange(size, path));
  // It may break before anyone reads it; whoever reads it then meets the error.
  exact.on('error', () => {});
  const body = webBody(
    () => exact,
    (error) => onFailure(path, error),
  );
  return carry(new Response(body, initOf(reply)), exact);
}

/** What the bodies of responses are made from. */
const carried = new WeakMap<Response, string | Buffer | Readable>();

function carry(response: Response, body: string | Buffer | Readable): Response {
  carried.set(response, body);
  return response;
}

/**
 * The body of `response` as it was before it became a web stream: Node sends it as it is, which is faster. Undefined for
 * a response that was not made here; its `body` is then all there is. Whoever takes it looks after it, errors included.
 */
export const bodyOf = (response: Response): string | Buffer | Readable | undefined => carried.get(response);

/** What `open` gives as a web stream, which touches it only once it is read, or left. */
function webBody(open: () => Readable, onFailure: (error: unknown) => void = () => {}): ReadableStream<Uint8Array> {
  let chunks: AsyncIterator<Buffer> | undefined;
  let isLeft = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller): Promise<void> {
        chunks ??= open()[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
        try {
          const next = await chunks.next();
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          if (!isLeft) onFailure(error);
          throw error;
        }
      },
      cancel(): void {
        isLeft = true;
        open().destroy();
      },
    },
    { highWaterMark: 0 },
  );
}

function initOf({ status, headers }: Reply): ResponseInit {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) pairs.push([headers[i] ?? '', headers[i + 1] ?? '']);
  return { status, headers: pairs };
}

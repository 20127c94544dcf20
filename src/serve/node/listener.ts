/** Between Node's requests and the app: narinfos without a detour, everything else as `Request` and `Response`. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import { isNixcacheError } from '../../errors.ts';
import { ReadoutStream } from '../../streams/readout-stream.ts';
import { type Answer, type AskOptions, statusAnswer } from '../answer.ts';
import type { App } from '../app.ts';
import { ownHostOf } from '../inside/store-host.ts';
import { filePathOf } from '../inside/store-target.ts';
import { wholeReply } from '../negotiate.ts';
import { carryBody } from '../request-body.ts';
import { originForm, pathOf } from '../request-path.ts';
import { bodyOf } from '../respond.ts';
import { bodyOpener, passOver } from './incoming-body.ts';
import { pump } from './pump.ts';
import { REQUEST_ID, requestIdOf } from './request-id.ts';
import type { Asked, Watch } from './watch.ts';

/** `http.IncomingMessage` is one as it comes; headers are looked up in the raw list, which costs less than an object. */
interface RawRequest extends Pick<IncomingMessage, 'rawHeaders'> {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
}

/** Answers requests below `prefix` from `app`, which knows nothing of it. */
export const listenerOf =
  (app: App, watch: Watch, prefix = '') =>
  (request: IncomingMessage, response: ServerResponse): void => {
    const begunMs = performance.now();
    const { method, rawHeaders } = request;
    const url = prefix === '' ? (request.url ?? '') : originForm(request.url ?? '').slice(prefix.length);
    const id = requestIdOf(rawHeaders);
    if (watch.isTelling) watch.follow(request, response, { url, id, begunMs, gate: app.gate });
    const kind = kindOf(rawHeaders);
    if (kind === 'plain' && (method === 'GET' || method === 'HEAD') && mayPass(app, url, request)) {
      const answer = app.narInfos.answer(url, leaving(response, app.via));
      if (answer !== undefined) {
        if (answer instanceof Promise)
          void answer.then((answer) => sendNarInfo(app, watch, response, method, answer, id, begunMs));
        else sendNarInfo(app, watch, response, method, answer, id, begunMs);
        return;
      }
    }
    const asked = { url, id, begunMs, gate: app.gate };
    if (!watch.isTelling) watch.follow(request, response, asked);
    const { signal } = leaving(response);
    const send = (answer: Response): void => {
      if (kind !== 'body') sendResponse(app, asked, response, answer, false);
      else if (method !== 'PUT') sendResponse(app, asked, response, answer, true);
      else void passOver(request, response).then((isRead) => sendResponse(app, asked, response, answer, !isRead));
    };
    const webRequest = requestOf({ method, url, rawHeaders }, signal);
    if (webRequest !== undefined && method === 'PUT') carryBody(webRequest, bodyOpener(request, response));
    const answer = webRequest === undefined ? new Response(null, { status: 400 }) : app.fetch(webRequest);
    if (answer instanceof Promise) void answer.then(send);
    else send(answer);
  };

/** Whether a narinfo may be given at once; the app refuses it otherwise. */
function mayPass({ gate, storeHost }: App, url: string, request: IncomingMessage): boolean {
  // Node makes an object of the headers when they are looked at, which is spared where nothing depends on them.
  if (storeHost !== undefined && ownHostOf(request.headers.host, storeHost) !== undefined) return false;
  if (gate?.isPrivate !== true) return true;
  return gate.refusal(request.method ?? '', url, request.headers.authorization) === undefined;
}

/** Undefined for one that is no `Request`, whatever Node's parser let through: no client is to end the process. */
function requestOf(request: RawRequest, signal: AbortSignal | undefined): Request | undefined {
  try {
    return toRequest(request, signal);
  } catch {
    return undefined;
  }
}

/** The signal aborts when the client leaves. Made only if asked for: most narinfos are answered at once. */
const leaving = (response: ServerResponse, via?: string): AskOptions => ({
  via,
  get signal(): AbortSignal {
    const abort = new AbortController();
    // Also comes when all is sent, and then nothing is left to end.
    response.once('close', () => {
      if (!response.writableFinished) abort.abort();
    });
    return abort.signal;
  },
});

/** A string is ASCII, and no answer with a narinfo has another body. */
function sendNarInfo(
  app: App,
  watch: Watch,
  response: ServerResponse,
  method: string,
  answer: Answer,
  id: string,
  begunMs: number,
): void {
  const { status, headers, body } = wholeReply(app.shown(answer));
  response.writeHead(status, [...headers, REQUEST_ID, id]);
  const text = method === 'HEAD' || typeof body === 'object' ? '' : (body ?? '');
  response.end(text, 'latin1');
  if (!watch.isTelling) watch.answered(method, status, text.length, begunMs);
}

/** @param isLast whether the connection ends with it: a body that was not read would be taken for the next request */
function sendResponse(app: App, asked: Asked, response: ServerResponse, answer: Response, isLast: boolean): void {
  const body =
    bodyOf(answer) ?? (answer.body === null ? undefined : Readable.fromWeb(answer.body as NodeReadableStream));
  if (response.destroyed) {
    // The client left while the answer was made.
    if (body instanceof Readable) body.destroy();
    return;
  }
  if (body instanceof Readable && !answer.headers.has('content-length') && !response.useChunkedEncodingByDefault) {
    // To HTTP/1.0 the end of the connection is the end of the answer: half of it would look whole.
    body.destroy();
    const {
      status,
      headers,
      body: text,
    } = wholeReply(statusAnswer(505, [], 'how long the answer is only its end tells, which takes HTTP/1.1'));
    response.shouldKeepAlive = false;
    response.writeHead(status, [...headers, REQUEST_ID, asked.id]).end(text);
    return;
  }
  const headers = [...answer.headers].flatMap(([name, value]) => [wireName(name), value]);
  response.writeHead(answer.status, [...headers, REQUEST_ID, asked.id, ...(isLast ? ['Connection', 'close'] : [])]);
  if (body === undefined) response.end();
  else if (typeof body === 'string') response.end(body, 'latin1');
  else if (!(body instanceof Readable)) response.end(body);
  else if (body instanceof ReadoutStream) {
    pump(body, response).catch((error: unknown) => app.brokeOff(asked.url, error));
  } else {
    // Ends the response only after exactly as many bytes as it announced; everything else destroys the connection.
    pipeline(body, response, (error) => {
      if (error && !isClientGone(error)) app.brokeOff(asked.url, error);
    });
  }
}

/** Web headers are in lower case; some old programs look for them as everyone else writes them. */
const wireName = (name: string): string =>
  SPELT[name] ?? name.replaceAll(/(?<=^|-)[a-z]/g, (letter) => letter.toUpperCase());

const SPELT: Readonly<Record<string, string>> = { etag: 'ETag', 'nar-executable': 'NAR-Executable' };

/** A target that cannot name anything of ours becomes one that names nothing: a URL would make something else of it. */
export function toRequest({ method = 'GET', url = '', rawHeaders }: RawRequest, signal?: AbortSignal): Request {
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    // Of repeated ones, the first counts.
    if (!headers.has(name)) headers.set(name, rawHeaders[i + 1] ?? '');
  }
  const isNameable = pathOf(url) !== undefined || filePathOf(originForm(url)) !== undefined;
  return new Request(`http://cache${isNameable ? originForm(url) : '/%00'}`, {
    method: UNSPEAKABLE.has(method) ? 'UNKNOWN' : method,
    headers,
    ...(signal === undefined ? {} : { signal }),
  });
}

/** Methods that `Request` does not take. No route does. */
const UNSPEAKABLE: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK']);

/** Whether a body comes with the request, or else conditions that change an answer. */
function kindOf(rawHeaders: readonly string[]): 'plain' | 'conditional' | 'body' {
  let kind: 'plain' | 'conditional' = 'plain';
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    // Telling by length first spares nearly every comparison.
    const key = CANDIDATES[name.length];
    if (key === undefined || name.toLowerCase() !== key) continue;
    if (key === 'transfer-encoding' || (key === 'content-length' && rawHeaders[i + 1] !== '0')) return 'body';
    if (key !== 'content-length') kind = 'conditional';
  }
  return kind;
}

/** By their length, which is another for each. */
const CANDIDATES: readonly (string | undefined)[] = Array.from({ length: 32 }, (_, length) =>
  ['via', 'range', 'if-range', 'if-none-match', 'content-length', 'transfer-encoding'].find(
    (name) => name.length === length,
  ),
);

/** The client left, or we were told to stop: no failure of anyone's. */
const isClientGone = (error: NodeJS.ErrnoException): boolean =>
  isNixcacheError(error, 'ERR_INTERRUPTED') || error.name === 'AbortError' || CLIENT_GONE.has(error.code ?? '');

const CLIENT_GONE: ReadonlySet<string> = new Set(['ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR', 'EPIPE', 'ECONNRESET']);

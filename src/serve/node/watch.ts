/** Looks at each request and its answer: counts it, and tells of it where that is wanted. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Gate } from '../gate.ts';
import type { Measure } from '../measure.ts';
import { RequestStats, routeOf } from './request-stats.ts';

/** What became of a request; of its token only the name is known. */
export interface RequestSeen {
  readonly id: string;
  readonly method: string;
  /** As it was sent: whatever the client wrote. */
  readonly path: string;
  readonly status: number;
  /** That were sent, the head of the answer included. */
  readonly bytes: number;
  readonly durationMs: number;
  readonly complete: boolean;
  /** Address of the client; none on a unix socket. */
  readonly client: string | undefined;
  readonly token: string | undefined;
}

/** A request on its way. */
export interface Asked {
  readonly id: string;
  /** Of what it asks the cache that answers it, without the prefix of that. */
  readonly url: string;
  readonly begunMs: number;
  readonly gate: Pick<Gate, 'holderOf'> | undefined;
}

export interface WatchOptions {
  readonly onRequest?: ((seen: RequestSeen) => void) | undefined;
}

/** Of a narinfo; asking its connection costs more than all that is done for it otherwise. */
const USUAL_HEAD_BYTES = 400;

export class Watch {
  readonly stats = new RequestStats();
  readonly #options: WatchOptions;

  constructor(options: WatchOptions = {}) {
    this.#options = options;
  }

  /** Whether each request is told of, and so has to be followed to its end. */
  get isTelling(): boolean {
    return this.#options.onRequest !== undefined;
  }

  /** Counts a narinfo that was made and sent at once, of which there are thousands a second. */
  answered(method: string, status: number, bodyBytes: number, begunMs: number): void {
    const bytes = bodyBytes + USUAL_HEAD_BYTES;
    this.stats.count('narinfo', { method, status, bytes, durationMs: performance.now() - begunMs });
  }

  /** Counts and tells of a request when all is sent or its client has left. */
  follow(request: IncomingMessage, response: ServerResponse, { id, url, begunMs, gate }: Asked): void {
    const { method = '', url: path = '', socket, headers } = request;
    const sentBefore = socket.bytesWritten;
    const client = socket.remoteAddress;
    response.once('close', () => {
      const { statusCode: status, writableFinished: complete } = response;
      const answered = {
        method,
        status,
        bytes: socket.bytesWritten - sentBefore,
        durationMs: performance.now() - begunMs,
      };
      this.stats.count(routeOf(url), answered);
      const { onRequest } = this.#options;
      if (onRequest === undefined) return;
      const token = gate?.holderOf(headers.authorization)?.name;
      onRequest({ id, path, ...answered, complete, client, token });
    });
  }

  readonly measures: readonly Measure[] = [
    {
      ...{ name: 'http_requests_total', type: 'counter', read: () => this.stats.answers() },
      help: 'Requests that were answered, by what they asked for and how it ended.',
    },
    {
      ...{ name: 'http_response_bytes_total', type: 'counter', read: () => this.stats.bytes() },
      help: 'Bytes that were sent, heads of answers included; for narinfos these are guessed.',
    },
  ];
}

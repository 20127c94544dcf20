import { connect, createServer, type Socket } from 'node:net';

/**
 * A TCP port on loopback behind a long line: what is sent arrives half a round trip later, and a new connection can
 * send its first byte one round trip after it was opened, as a handshake costs. No limit to the bandwidth, no slow
 * start, no TLS: the kindest line of that length.
 */
export interface LatencyProxy {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  readonly counts: Readonly<LinkCounts>;
  close(): Promise<void>;
}

interface LinkCounts {
  connections: number;
  bytesUp: number;
  bytesDown: number;
}

/** Opens one in front of `target` (`127.0.0.1:PORT`). */
export async function openLatencyProxy(target: string, roundTripMs: number): Promise<LatencyProxy> {
  const [host = '', port = ''] = target.split(':');
  const counts: LinkCounts = { connections: 0, bytesUp: 0, bytesDown: 0 };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    counts.connections += 1;
    const openAt = performance.now() + roundTripMs;
    const far = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      // A reset on one side is passed on; `close` follows.
      socket.on('error', () => other.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    carry(near, far, roundTripMs / 2, openAt, (bytes) => {
      counts.bytesUp += bytes;
    });
    carry(far, near, roundTripMs / 2, 0, (bytes) => {
      counts.bytesDown += bytes;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('latency proxy: no port');
  return {
    address: `127.0.0.1:${bound.port}`,
    counts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Bytes on the line at once, each way: more than a round trip of 50 ms carries at 100 MB/s. */
const MAX_IN_FLIGHT_BYTES = 8 * 1024 * 1024;

function carry(from: Socket, to: Socket, delayMs: number, openAt: number, count: (bytes: number) => void): void {
  let inFlight = 0;
  // Timers of one length fire in the order they were set; `openAt` only ever delays the first of them more.
  let lastAt = 0;
  const later = (act: () => void): void => {
    lastAt = Math.max(lastAt, Math.max(performance.now(), openAt) + delayMs);
    setTimeout(act, Math.max(0, lastAt - performance.now()));
  };
  const queue: (() => void)[] = [];
  const schedule = (act: () => void): void => {
    queue.push(act);
    later(() => queue.shift()?.());
  };
  from.on('data', (chunk: Buffer) => {
    count(chunk.length);
    inFlight += chunk.length;
    if (inFlight > MAX_IN_FLIGHT_BYTES) from.pause();
    schedule(() => {
      const arrived = (): void => {
        inFlight -= chunk.length;
        if (inFlight <= MAX_IN_FLIGHT_BYTES) from.resume();
      };
      if (to.writable) to.write(chunk, arrived);
    });
  });
  from.on('end', () => schedule(() => to.end()));
}

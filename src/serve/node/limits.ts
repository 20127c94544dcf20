/** How much may go on at once, so that no clients, however many or slow, take all descriptors. */
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ServerLimits {
  /** Connections of clients. */
  readonly connections: number;
  /** Large NARs that are sent at once: each may hold a file or a connection to a registry. */
  readonly nars: number;
}

/** Where the system does not say: what it mostly is, at the least. */
const USUAL_DESCRIPTORS = 1024;
const MOST_CONNECTIONS = 4096;
const MOST_NARS = 256;

/** Half of the descriptors are for clients, a third for what they read (where it comes from and where it is kept), the rest for all else. */
export function defaultLimits(descriptors = descriptorLimit()): ServerLimits {
  return {
    connections: Math.max(16, Math.min(MOST_CONNECTIONS, Math.floor(descriptors / 2))),
    nars: Math.max(4, Math.min(MOST_NARS, Math.floor(descriptors / 6))),
  };
}

function descriptorLimit(): number {
  try {
    const [, soft] = /^Max open files\s+([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? USUAL_DESCRIPTORS : Number(soft);
  } catch {
    return USUAL_DESCRIPTORS; // not on Linux
  }
}

/** A client that takes less in that time than `leastBytes` of what waits for it is cut off. */
export interface SlowReaderPolicy {
  readonly spanMs: number;
  readonly leastBytes: number;
}

/** Five minutes, as long as Nix itself puts up with silence: drop by drop, a reader must not hold a NAR for ever. */
export const SLOW_READER: SlowReaderPolicy = { spanMs: 300_000, leastBytes: 64 * 1024 };

/** In how many pieces the span is looked at: a reader is slow when it was so in each. */
const LOOKS = 5;

interface Reader {
  /** Bytes that the client had taken at the last look. */
  taken: number;
  /** Looks in a row at which something waited, and hardly anything had been taken since the one before. */
  slowLooks: number;
}

/** Cuts off slow readers of `server` until the returned function is called. */
export function cutSlowReaders(server: Server, { spanMs, leastBytes }: SlowReaderPolicy): () => void {
  const readers = new Map<Socket, Reader>();
  server.on('connection', (socket: Socket) => {
    readers.set(socket, { taken: 0, slowLooks: -1 });
    socket.once('close', () => readers.delete(socket));
  });
  const timer = setInterval(() => {
    for (const [socket, reader] of readers) {
      const taken = socket.bytesWritten - socket.writableLength;
      const isSlow = socket.writableLength > 0 && taken - reader.taken < leastBytes / LOOKS;
      reader.slowLooks = isSlow ? reader.slowLooks + 1 : 0;
      reader.taken = taken;
      if (reader.slowLooks >= LOOKS) socket.destroy();
    }
  }, spanMs / LOOKS);
  timer.unref();
  return () => clearInterval(timer);
}

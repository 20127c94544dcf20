/** Sends what a file holds: into room that is used again and again, read into one half while the other is on its way. */
import type { ServerResponse } from 'node:http';
import type { ReadoutStream } from '../../streams/readout-stream.ts';

const ROOM_BYTES = 256 * 1024;
/** Kept for the next answers: 8 MiB. */
const MAX_SPARE = 32;
const spare: Buffer[] = [];

/**
 * Sends all of `source`, which is destroyed then, and ends `response`, or destroys it when that fails. Rejects with what the
 * source says; a client that leaves is no failure.
 */
export async function pump(source: ReadoutStream, response: ServerResponse): Promise<void> {
  const { readout } = source;
  const left = new Promise<'left'>((resolve) => {
    response.once('close', () => resolve('left'));
  });
  /** Room that is on its way, and when it is free again. */
  let sending: { readonly room: Buffer; readonly sent: Promise<unknown> } | undefined;
  try {
    for (let position = 0; position < readout.length && !response.destroyed; ) {
      const length = Math.min(ROOM_BYTES, readout.length - position);
      const room = spare.pop() ?? Buffer.allocUnsafeSlow(ROOM_BYTES);
      const part = room.subarray(0, length);
      await readout.read(part, position);
      position += length;
      if (sending !== undefined) {
        if ((await Promise.race([sending.sent, left])) === 'left') break;
        give(sending.room);
      }
      const isLast = position === readout.length;
      const sent = new Promise<void>((resolve) => {
        if (isLast) response.end(part, () => resolve());
        else response.write(part, () => resolve());
      });
      sending = { room, sent };
    }
    if (sending === undefined) response.end();
    else if ((await Promise.race([sending.sent, left])) !== 'left') give(sending.room);
  } catch (error) {
    response.destroy();
    throw error;
  } finally {
    source.destroy();
  }
}

function give(room: Buffer): void {
  if (spare.length < MAX_SPARE) spare.push(room);
}

import { connect, type Socket } from 'node:net';

export interface RawClient {
  readonly socket: Socket;
  send(text: string): void;
  /** Everything received so far. */
  received(): Buffer;
  /** Waits until `done` holds of what was received. */
  until(done: (text: string) => boolean): Promise<string>;
  /** Waits until the other side has closed; how it did. */
  closed(): Promise<'end' | 'error'>;
}

/** A connection that shows what is on the wire. */
export async function rawClient(port: number, options: { readonly allowHalfOpen?: boolean } = {}): Promise<RawClient> {
  const chunks: Buffer[] = [];
  let ending: 'end' | 'error' | undefined;
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: options.allowHalfOpen === true });
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('end', () => {
    ending ??= 'end';
  });
  socket.on('error', () => {
    ending ??= 'error';
  });
  socket.on('close', () => {
    ending ??= 'end';
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  const received = (): Buffer => Buffer.concat(chunks);
  const poll = async <T>(check: () => T | undefined): Promise<T> => {
    for (;;) {
      const value = check();
      if (value !== undefined) return value;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return {
    socket,
    received,
    send: (text) => void socket.write(text),
    until: (done) =>
      poll(() => {
        const text = received().toString('latin1');
        if (done(text)) return text;
        if (ending !== undefined) throw new Error(`closed after: ${text}`);
        return undefined;
      }),
    closed: () => poll(() => ending),
  };
}

export const request = (path: string, method = 'GET', ...headers: string[]): string =>
  `${[`${method} ${path} HTTP/1.1`, 'Host: x', ...headers].join('\r\n')}\r\n\r\n`;

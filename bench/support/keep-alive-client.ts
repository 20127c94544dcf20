import { connect } from 'node:net';

/** HTTP/1.1 over one connection, one request after the other, and as little else as can be. */
export interface KeepAliveClient {
  /** The status of the answer, whose body has been read and dropped. */
  fetchStatus(path: string): Promise<number>;
  close(): void;
}

/** Understands answers with a Content-Length; others are an error. */
export async function openKeepAliveClient(url: string): Promise<KeepAliveClient> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject).once('connect', resolve);
  });
  let waiting: { readonly resolve: (status: number) => void; readonly reject: (error: Error) => void } | undefined;
  let received: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const end = received.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = received.toString('latin1', 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) waiting?.reject(new Error(`an answer without Content-Length: ${head}`));
    if (received.length < end + 4 + Number(length)) return;
    received = received.subarray(end + 4 + Number(length));
    waiting?.resolve(Number(head.slice(9, 12)));
  });
  const fail = (error: Error): void => waiting?.reject(error);
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection was closed')));
  return {
    fetchStatus: (path) =>
      new Promise<number>((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
      }),
    close: () => socket.destroy(),
  };
}

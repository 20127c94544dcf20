/** The connections of a server that are open. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Measure } from '../measure.ts';

export class Connections {
  readonly open: ReadonlySet<Socket>;
  /** How many were turned away, for there were too many. */
  dropped = 0;
  readonly measures: readonly Measure[];

  constructor(server: Server, max: number) {
    const open = new Set<Socket>();
    this.open = open;
    server.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
    });
    this.measures = [
      { name: 'open_connections', type: 'gauge', help: 'Connections of clients.', read: () => open.size },
      { name: 'max_connections', type: 'gauge', help: 'The most there may be.', read: () => max },
      {
        ...{ name: 'dropped_connections_total', type: 'counter', read: () => this.dropped },
        help: 'Connections that were turned away, for there were too many.',
      },
    ];
  }
}

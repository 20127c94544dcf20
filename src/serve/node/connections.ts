/** The connections of a server that are open: how many there may be, and who makes room when there are too many. */
import type { Socket } from 'node:net';
import type { Measure } from '../measure.ts';

export interface ConnectionsOptions {
  readonly max: number;
  /** Closes those on which nothing is asked. */
  readonly closeIdle: () => void;
  /** Somebody was turned away. */
  readonly onDrop: () => void;
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #open = new Set<Socket>();
  /** In the order in which they came. */
  readonly #byClient = new Map<string, Set<Socket>>();
  #dropped = 0;
  readonly measures: readonly Measure[];

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.measures = [
      { name: 'open_connections', type: 'gauge', help: 'Connections of clients.', read: () => this.#open.size },
      { name: 'max_connections', type: 'gauge', help: 'The most there may be.', read: () => options.max },
      {
        ...{ name: 'dropped_connections_total', type: 'counter', read: () => this.#dropped },
        help: 'Connections that were turned away, for there were too many.',
      },
    ];
  }

  get open(): ReadonlySet<Socket> {
    return this.#open;
  }

  add(socket: Socket): void {
    const client = clientOf(socket.remoteAddress);
    const theirs = this.#byClient.get(client) ?? new Set();
    this.#byClient.set(client, theirs.add(socket));
    this.#open.add(socket);
    socket.once('close', () => this.#forget(socket, client));
    if (this.#open.size > this.#options.max) this.#makeRoom(socket, client);
  }

  /** It is gone as soon as it is closed, whenever that is heard of. */
  #forget(socket: Socket, client: string): void {
    this.#open.delete(socket);
    const theirs = this.#byClient.get(client);
    theirs?.delete(socket);
    if (theirs?.size === 0) this.#byClient.delete(client);
  }

  #drop(socket: Socket, client: string): void {
    this.#dropped += 1;
    socket.destroy();
    this.#forget(socket, client);
    this.#options.onDrop();
  }

  /**
   * Whoever has the most gives one up for a client that has fewer, the youngest, on which the least was done; else the one that
   * came is turned away. Idle ones are closed besides: who comes next finds room, if anyone can spare it.
   */
  #makeRoom(newcomer: Socket, client: string): void {
    this.#options.closeIdle();
    let [greediest, most] = [client, this.#byClient.get(client) ?? new Set<Socket>()];
    for (const [each, theirs] of this.#byClient) if (theirs.size > most.size) [greediest, most] = [each, theirs];
    const youngest = greediest === client ? newcomer : ([...most].at(-1) ?? newcomer);
    this.#drop(youngest, greediest);
  }
}

const MAPPED = /^::ffff:(?=\d+\.)/i;
/** Groups of an IPv6 address that say whose network it is in, all of which one client may have. */
const NETWORK_GROUPS = 4;

/** Who connects, by address; of IPv6 by network (/64). All of a unix socket are one. */
export function clientOf(address = 'unix'): string {
  const plain = address.replace(MAPPED, '');
  if (!plain.includes(':')) return plain;
  const [head = [], tail = []] = plain.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => '0');
  return [...head, ...zeros, ...tail].slice(0, NETWORK_GROUPS).join(':');
}

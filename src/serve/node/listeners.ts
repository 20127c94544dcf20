/** The sockets of a server, at one place or several, with what bounds their clients. */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { messageOf } from '../../errors.ts';
import { Connections } from './connections.ts';
import type { Handler } from './in-turn.ts';
import { cutSlowReaders, type ServerLimits, type SlowReaderPolicy } from './limits.ts';
import { listenAt, type Place } from './places.ts';

export interface ListenersOptions {
  readonly create: () => Server;
  readonly handle: Handler;
  readonly limits: ServerLimits;
  readonly slowReaders: SlowReaderPolicy;
  /** Connections cannot be taken. */
  readonly onTrouble: (error: string) => void;
}

const DRAIN_POLL_MS = 20;
/** Those that are turned away are told of so often at most: whoever sends thousands must not fill the log. */
const TELL_EVERY_MS = 10_000;

export class Listeners {
  readonly #options: ListenersOptions;
  readonly #servers: Server[] = [];
  readonly #stopCutting: (() => void)[] = [];
  readonly connections: Connections;
  #toldMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  constructor(options: ListenersOptions) {
    this.#options = options;
    this.connections = new Connections({
      max: options.limits.connections,
      closeIdle: () => this.#closeIdle(),
      onDrop: () => this.#tellOfDrops(),
    });
  }

  /** The URL of each of `places`. @throws {NixcacheError} ERR_USAGE; then it listens at none of them */
  async open(places: readonly Place[]): Promise<readonly string[]> {
    const urls: string[] = [];
    try {
      for (const place of places) urls.push(await this.#openAt(place));
    } catch (error) {
      await this.close(0);
      throw error;
    }
    return urls;
  }

  async #openAt(place: Place): Promise<string> {
    const { create, handle, slowReaders, onTrouble } = this.#options;
    const server = create();
    server.on('request', handle);
    // Who reads the body asks for it; else the answer comes instead of "100 Continue".
    server.on('checkContinue', handle);
    server.on('connection', (socket: Socket) => this.connections.add(socket));
    this.#stopCutting.push(cutSlowReaders(server, slowReaders));
    const url = await listenAt(server, place);
    this.#servers.push(server);
    // Without a listener, one connection too many would end the process.
    server.on('error', (error) => onTrouble(messageOf(error)));
    return url;
  }

  /** Stops accepting, lets running requests end up to `drainMs`, then cuts them off. May be called again. */
  close(drainMs: number): Promise<void> {
    for (const stop of this.#stopCutting.splice(0)) stop();
    this.#closing ??= this.#drain(drainMs);
    return this.#closing;
  }

  async #drain(drainMs: number): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    // A connection that never sent anything is idle too, though not for Node.
    for (const socket of this.connections.open) if (socket.bytesRead === 0) socket.destroy();
    const poll = setInterval(() => this.#closeIdle(), DRAIN_POLL_MS);
    const deadline = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, drainMs);
    await Promise.all(closed);
    clearInterval(poll);
    clearTimeout(deadline);
  }

  #closeIdle(): void {
    for (const server of this.#servers) server.closeIdleConnections();
  }

  #tellOfDrops(): void {
    const now = performance.now();
    if (now - this.#toldMs < TELL_EVERY_MS) return;
    this.#toldMs = now;
    this.#options.onTrouble(`there are ${this.#options.limits.connections} already, the most there may be`);
  }
}

/** Requests that a client sends without waiting for answers: they are begun one after the other, as they are answered. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Requests of one connection that wait before no more are read from it. */
const READ_AHEAD = 64;
/** What was received at once is parsed at once: some 2000 of the shortest requests. More is no client of ours. */
const MOST_WAITING = 10_000;

interface Turns {
  isBusy: boolean;
  isPaused: boolean;
  readonly waiting: (readonly [IncomingMessage, ServerResponse])[];
}

/** `handle`, begun for one request of each connection at a time: what waits has opened nothing yet. */
export function inTurn(handle: Handler): Handler {
  const turnsOf = new WeakMap<Socket, Turns>();

  const begin = (turns: Turns, socket: Socket, request: IncomingMessage, response: ServerResponse): void => {
    handle(request, response);
    if (response.writableEnded) return; // Node itself bounds answers that are made and not yet sent
    turns.isBusy = true;
    response.once('close', () => {
      turns.isBusy = false;
      while (!turns.isBusy && !socket.destroyed) {
        const next = turns.waiting.shift();
        if (next === undefined) break;
        begin(turns, socket, ...next);
      }
      if (!turns.isPaused || turns.waiting.length > READ_AHEAD / 2) return;
      turns.isPaused = false;
      socket.resume();
    });
  };

  return (request, response) => {
    const { socket } = request;
    let turns = turnsOf.get(socket);
    if (turns === undefined) {
      turns = { isBusy: false, isPaused: false, waiting: [] };
      turnsOf.set(socket, turns);
    }
    if (!turns.isBusy) {
      begin(turns, socket, request, response);
      return;
    }
    turns.waiting.push([request, response]);
    if (turns.waiting.length > MOST_WAITING) socket.destroy();
    else if (turns.waiting.length > READ_AHEAD) {
      turns.isPaused = true;
      socket.pause();
    }
  };
}

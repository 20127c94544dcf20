import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { expect, it, vi } from 'vitest';
import { inTurn } from '../../../src/serve/node/in-turn.ts';

/** Requests of one connection, none of which is answered. */
function connection() {
  const socket = { destroyed: false, pause: vi.fn(), resume: vi.fn(), destroy: vi.fn() };
  const begun = vi.fn();
  const handle = inTurn(begun);
  const send = (count: number): void => {
    for (let i = 0; i < count; i++) {
      handle({ socket } as unknown as IncomingMessage, new EventEmitter() as ServerResponse);
    }
  };
  return { socket, begun, send };
}

it('begins one of them, and reads no more while many wait', () => {
  const { socket, begun, send } = connection();
  send(65);
  expect(socket.pause).not.toHaveBeenCalled();
  send(1);
  expect(socket.pause).toHaveBeenCalled();
  expect(begun).toHaveBeenCalledOnce();
});

it('cuts off who sends more at once than would be kept', () => {
  const { socket, begun, send } = connection();
  send(10_001);
  expect(socket.destroy).not.toHaveBeenCalled();
  send(1);
  expect(socket.destroy).toHaveBeenCalled();
  expect(begun).toHaveBeenCalledOnce();
});

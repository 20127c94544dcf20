/** A proxy in front of a registry that lets requests wait for ever: who sent one can be killed at that very point. */
import { createServer, type IncomingMessage, request as send } from 'node:http';
import { hostOf, listen } from './fake-registry-http.ts';

export interface HoldingProxy extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
  /** Resolves once a request waits. */
  readonly held: Promise<void>;
}

/** Passes on to `host` all but the requests for which `isHeld` says that they wait. */
export async function startHoldingProxy(
  host: string,
  isHeld: (request: IncomingMessage) => boolean,
): Promise<HoldingProxy> {
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    if (isHeld(request)) return resolve();
    const { method, url, headers } = request;
    const onward = send(`http://${host}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await listen(server);
  return {
    host: hostOf(server),
    held,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Where clients come in: at an address, at a unix socket, or at sockets that somebody opened for us. */
import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { dirname } from 'node:path';
import { messageOf, NixcacheError } from '../../errors.ts';

export type Place =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string; readonly mode: number }
  /** A file descriptor, which listens already. */
  | { readonly kind: 'inherited'; readonly fd: number };

/** How `--listen` names a unix socket. */
const UNIX = 'unix:';
/** Who is in the group of the server, as a web server before it may be, comes in as well. */
const DEFAULT_SOCKET_MODE = 0o660;
const BACKLOG = 1024;

/** `listen` is an address, or `unix:PATH`. */
export function placeOf(listen: string, port: number, mode = DEFAULT_SOCKET_MODE): Place {
  if (listen.startsWith(UNIX)) return { kind: 'unix', path: listen.slice(UNIX.length), mode };
  return { kind: 'tcp', host: listen, port };
}

/** Begins to listen. Gives the URL: `http://127.0.0.1:37515`, `unix:/run/nixcache.sock`. @throws {NixcacheError} ERR_USAGE */
export async function listenAt(server: Server, place: Place): Promise<string> {
  try {
    if (place.kind === 'unix') await removeStale(place.path);
    await begin(server, place);
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `listen on ${nameOf(place)}: ${whyNot(cause, place)}`, { cause });
  }
  const address = server.address();
  if (place.kind === 'unix') return `${UNIX}${place.path}`;
  return address === null || typeof address === 'string' ? `${UNIX}${address ?? nameOf(place)}` : urlOf(address);
}

const urlOf = ({ family, address, port }: AddressInfo): string =>
  `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;

function nameOf(place: Place): string {
  if (place.kind === 'tcp') return `${place.host} port ${place.port}`;
  return place.kind === 'unix' ? place.path : `socket ${place.fd}`;
}

function begin(server: Server, place: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const onListening = (): void => {
      server.off('error', reject);
      resolve();
    };
    if (place.kind === 'inherited') server.listen({ fd: place.fd, backlog: BACKLOG }, onListening);
    else if (place.kind === 'tcp') server.listen({ host: place.host, port: place.port, backlog: BACKLOG }, onListening);
    else listenInMode(server, place, onListening);
  });
}

/** Made with its mode, so that nobody comes in meanwhile whom it keeps out. */
function listenInMode(server: Server, { path, mode }: Extract<Place, { kind: 'unix' }>, onListening: () => void): void {
  const before = process.umask(0o777 & ~mode);
  try {
    server.listen({ path, backlog: BACKLOG }, onListening); // binds before it returns
  } finally {
    process.umask(before);
  }
}

/** Takes away the socket that a killed server left; one at which somebody listens stays, and so does what is no socket. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new NixcacheError('ERR_USAGE', 'there is something else than a socket, which is left alone');
  if (await isListening(path)) throw Object.assign(new Error(), { code: 'EADDRINUSE' });
  // The same as was asked: another server may just have done this.
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === found.ino) unlinkSync(path);
}

/** What cannot be asked counts as alive. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there already, perhaps another nixcache serve',
  EACCES: 'this user may not; ports below 1024 are for root',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'there is no such address',
  EINVAL: 'it is no socket that listens',
  ENOTSOCK: 'it is no socket',
  EBADF: 'it is not open',
};

function whyNot(error: unknown, place: Place): string {
  const { kind } = place;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (kind === 'unix' && code === 'EACCES') {
    const directory = dirname(place.path);
    // Node says the same of both.
    if (!existsSync(directory)) return `there is no directory ${directory}: make it, or choose another with --listen`;
    return `this user may not write to ${directory}: choose another directory with --listen`;
  }
  const reason = REASONS[code] ?? messageOf(error);
  return kind === 'inherited' ? reason : `${reason}; choose another with --listen${kind === 'tcp' ? ' or --port' : ''}`;
}

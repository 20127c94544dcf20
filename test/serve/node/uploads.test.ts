/** Uploads over sockets: bodies that are asked for, refused, cut off, and in chunks. */
import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { formatNarInfo } from '../../../src/nix/nar-info.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { noise } from '../../support/bytes.ts';
import { setUpUploads, sha256, TOKEN, uploadOf } from '../upload/set-up.ts';

const LOGIN = `Authorization: Bearer ${TOKEN}\r\n`;

async function setUp() {
  const client = await setUpUploads();
  const tokens = new Tokens(parseTokens(TOKEN, { name: 'up', scopes: ['read', 'push'] }));
  const server = await startServer({
    ...{ reader: client.uploads.reader(), uploads: client.uploads, signingKeys: [client.key] },
    ...{ access: { tokens, isPrivate: false }, port: 0, firstRefreshMs: 0, drainMs: 100 },
  });
  onTestFinished(() => server.close());
  return { ...client, server };
}

/** A connection, and what came over it. */
async function open(
  port: number,
): Promise<{ socket: Socket; received: () => string; until: (text: string) => Promise<void> }> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  const until = async (text: string): Promise<void> => {
    await expect.poll(() => received, { timeout: 10_000 }).toContain(text);
  };
  return { socket, received: () => received, until };
}

it('asks for a body that is to be asked for, once it wants it, and goes on with the connection', async () => {
  const { server } = await setUp();
  const { file, narUrl, narInfoUrl, info } = uploadOf(1);
  const { socket, received, until } = await open(server.port);
  socket.write(
    `PUT ${narUrl} HTTP/1.1\r\nHost: x\r\n${LOGIN}Content-Length: ${file.length}\r\nExpect: 100-continue\r\n\r\n`,
  );
  await until('HTTP/1.1 100 Continue');
  socket.write(file);
  await until('HTTP/1.1 201 Created');
  const text = formatNarInfo(info);
  const [head, rest] = [text.slice(0, 100), text.slice(100)];
  const chunked = [head, rest].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('');
  socket.write(
    `PUT ${narInfoUrl} HTTP/1.1\r\nHost: x\r\n${LOGIN}Transfer-Encoding: chunked\r\n\r\n${chunked}0\r\n\r\n`,
  );
  await expect.poll(() => received().match(/201 Created/g)?.length).toBe(2);
  socket.write(`GET ${narInfoUrl} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await until(`StorePath: ${info.path}`);
  expect(received().toLowerCase()).not.toContain('connection: close');
});

it('refuses before the body comes where it is to be asked for, else once it was passed over', async () => {
  const { server } = await setUp();
  const { file, narUrl } = uploadOf(1);
  const asking = await open(server.port);
  asking.socket.write(
    `PUT ${narUrl} HTTP/1.1\r\nHost: x\r\nContent-Length: ${file.length}\r\nExpect: 100-continue\r\n\r\n`,
  );
  await asking.until('HTTP/1.1 401 Unauthorized');
  expect(asking.received()).not.toContain('100 Continue');
  expect(asking.received()).toContain('Connection: close');

  const sending = await open(server.port);
  sending.socket.write(`PUT ${narUrl} HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 * file.length}\r\n\r\n`);
  sending.socket.write(file);
  await delay(20);
  sending.socket.write(file);
  await sending.until('HTTP/1.1 401 Unauthorized');
  sending.socket.write(`GET /health HTTP/1.1\r\nHost: x\r\n\r\n`);
  await sending.until('HTTP/1.1 200 OK');
});

it('says what is wrong with a large body although it ends in the middle of it', async () => {
  const { server, events } = await setUp();
  const junk = Buffer.concat([Buffer.from('no NAR'), noise(3_000_000, 1)]);
  const url = `${server.url}/nar/${sha256(junk).slice('sha256:'.length)}.nar.zst`;
  const answer = await fetch(url, { method: 'PUT', body: junk, headers: { authorization: `Bearer ${TOKEN}` } });
  expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining('no NAR compressed with zstd')]);
  expect(events).toMatchObject([{ type: 'upload-refused' }]);
});

it('forgets a body whose sender leaves', async () => {
  const { server, uploads, events, directory } = await setUp();
  const { file, narUrl } = uploadOf(1, { text: noise(300_000, 1).toString('hex') });
  const { socket } = await open(server.port);
  socket.write(`PUT ${narUrl} HTTP/1.1\r\nHost: x\r\n${LOGIN}Content-Length: ${file.length}\r\n\r\n`);
  socket.write(file.subarray(0, file.length / 2));
  await expect.poll(() => readdir(join(directory, 'incoming'))).toHaveLength(1);
  socket.destroy();
  const again = await fetch(`${server.url}${narUrl}`, { method: 'HEAD' });
  expect(again.status).toBe(404);
  await expect.poll(async () => (await uploads.spool.list()).nars).toEqual([]);
  expect(events).toEqual([]);
});

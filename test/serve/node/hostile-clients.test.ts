/** Clients that mean no good: each harms itself alone, and others are answered meanwhile. */
import { connect, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ServerOptions, startServer } from '../../../src/serve/node/server.ts';
import { parseTokens, Tokens } from '../../../src/serve/tokens.ts';
import { noise } from '../../support/bytes.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { baseName, hashPart } from '../set-up.ts';
import { rawClient, request } from './raw-client.ts';

async function start(options: Partial<ServerOptions> = {}) {
  const reader = new MemoryCacheReader();
  const events: string[] = [];
  const server = await startServer({
    ...{ reader, port: 0, drainMs: 100, logRequests: true },
    onEvent: (event) => events.push(JSON.stringify(event)),
    ...options,
  });
  onTestFinished(() => server.close());
  const client = async () => {
    const made = await rawClient(server.port);
    onTestFinished(() => void made.socket.destroy());
    return made;
  };
  /** That an honest client is answered, and soon. */
  const isWell = async (): Promise<void> => {
    const asked = await client();
    asked.send(request('/nix-cache-info'));
    expect(await asked.until((text) => text.endsWith('Priority: 30\n'))).toContain('HTTP/1.1 200');
    asked.socket.destroy();
  };
  return { reader, events, client, isWell, server };
}

const statusOf = (text: string): string | undefined => /^HTTP\/1\.1 (\d+)/.exec(text)?.[1];

describe('a head', () => {
  it.each([
    ['too long', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, '431'],
    ['with a target too long', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, '431'],
    ['of too many lines', `GET / HTTP/1.1\r\nHost: x\r\n${'a: b\r\n'.repeat(5000)}\r\n`, '431'],
    ['without a host', 'GET / HTTP/1.1\r\n\r\n', '400'],
    ['with two lengths', 'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', '400'],
    [
      'with a length and chunks',
      'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      '400',
    ],
    ['with a line folded', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n', '400'],
    ['with an odd end of line', 'GET / HTTP/1.1\nHost: x\rGET /', '400'],
    ['of TLS', '\u0016\u0003\u0001\u0002\u0000\u0001', '400'],
    ['of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '400'],
  ])('%s is refused, and the connection with it', async (_, head, status) => {
    const { client, isWell } = await start();
    const asked = await client();
    asked.send(head);
    await asked.closed();
    expect(statusOf(asked.received().toString('latin1'))).toBe(status);
    await isWell();
  });

  it('with what could break a log or an answer breaks neither', async () => {
    const { client, events, isWell } = await start();
    const asked = await client();
    const odd = ['X-Request-Id: a\u0001b', 'X-Request-Id: a"} {"level":"error', `X-Request-Id: ${'x'.repeat(1000)}`];
    for (const line of odd) {
      const before = asked.received().length;
      asked.send(request('/%0d%0aSet-Cookie:%20x?token=t0ken', 'GET', line));
      if (line.includes('\u0001')) break; // which ends it
      await asked.until((text) => text.length > before && text.endsWith('Not Found\n'));
    }
    const text = asked.received().toString('latin1');
    expect(text).not.toMatch(/^Set-Cookie/m);
    expect(text).not.toContain('level');
    for (const event of events) expect(event).not.toContain('\n');
    await isWell();
  });
});

describe('a body', () => {
  const endless = async (head: string, chunk: string) => {
    const { client, isWell } = await start();
    const asked = await client();
    asked.send(head);
    const sending = setInterval(() => asked.socket.write(chunk), 1);
    onTestFinished(() => clearInterval(sending));
    await asked.closed();
    clearInterval(sending);
    await isWell();
    return { text: asked.received().toString('latin1'), sent: asked.socket.bytesWritten };
  };

  it('that never ends is not read: the answer comes, and the connection goes', async () => {
    const piece = 'a'.repeat(10_000);
    const head = 'POST /_refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
    const { text, sent } = await endless(head, `2710\r\n${piece}\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n/);
    expect(sent).toBeLessThan(50_000_000);
  });

  it('of a request that is refused is not read either', async () => {
    const head = 'PUT /nar/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n';
    expect(statusOf((await endless(head, 'a'.repeat(10_000))).text)).toBe('404');
  });

  it('of chunks that are none ends the connection', async () => {
    const { client, isWell } = await start();
    const asked = await client();
    asked.send('POST /_refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n');
    await asked.closed();
    await isWell();
  });
});

it('guessing tokens gets nothing but refusals, and none of the guesses into the log', async () => {
  const tokens = new Tokens(parseTokens('right-token', { name: 'reader', scopes: ['read'] }));
  const { client, events, reader } = await start({ access: { tokens, isPrivate: true } });
  reader.add({ baseName: baseName(1), nar: noise(100, 1) });
  const asked = await client();
  const path = `/${hashPart(1)}.narinfo`;
  const guesses = [
    'Bearer guess-1',
    'Basic Z3Vlc3MtMg==',
    'Bearer right-toke',
    'Bearer right-token2',
    'Bearer',
    'Digest x',
    `Bearer ${'x'.repeat(8000)}`,
  ];
  for (const guess of guesses) asked.send(request(path, 'GET', `Authorization: ${guess}`));
  const text = await asked.until((text) => text.split('HTTP/1.1 ').length > guesses.length);
  expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(guesses.map(() => '401'));
  asked.send(request(path, 'GET', 'Authorization: Bearer right-token'));
  await asked.until((text) => text.includes('StorePath: '));
  expect(events.join()).not.toMatch(/guess|right-toke/);
});

it('hundreds that send nothing, or half of a head, keep nobody out who has an address of their own', async () => {
  const { server, isWell } = await start({ limits: { connections: 50, nars: 10 } });
  const from = (localAddress: string): Socket => {
    const socket = connect({ port: server.port, host: '127.0.0.1', localAddress });
    socket.on('error', () => {});
    onTestFinished(() => void socket.destroy());
    return socket;
  };
  for (let i = 0; i < 200; i++) from('127.0.0.2').write(i % 2 === 0 ? 'GET / HT' : '');
  for (let i = 0; i < 10; i++) await isWell();
});

it('a slow head does not hold a connection for ever', async () => {
  const { client } = await start({ timeouts: { headersMs: 200, checkMs: 50 } });
  const [silent, slow] = [await client(), await client()];
  const drip = setInterval(() => slow.socket.write('a'), 20);
  onTestFinished(() => clearInterval(drip));
  slow.send('GET / HTTP/1.1\r\nX: ');
  await Promise.all([silent.closed(), slow.closed()]);
});

/** What servers that are no HTTP servers, or broken ones, answer: an error of ours, always, and soon. */
import { createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isNixcacheError } from '../../../src/errors.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { NASTY } from '../../support/nasty-strings.ts';

/** A server that says `answer` to whoever has said something, or at once, and hangs up. */
async function talker(answer: string | Buffer, options: { readonly atOnce?: boolean } = {}): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const speak = (): void => void socket.end(answer);
    if (options.atOnce) speak();
    else socket.once('data', speak);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

/** What becomes of a request: `undefined` for an answer that was read to its end. */
async function outcome(url: string): Promise<unknown> {
  const client = new HttpClient();
  onTestFinished(() => client.destroy());
  try {
    const { body } = await client.request({ url, timeoutMs: 2000, stallTimeoutMs: 2000 });
    await text(body);
    return undefined;
  } catch (error) {
    return error;
  }
}

const HEAD = 'HTTP/1.1 200 OK\r\n';
const ANSWERS: Readonly<Record<string, string | Buffer>> = {
  'an SSH banner': 'SSH-2.0-OpenSSH_9.6\r\n',
  'an SMTP banner': '220 mail.example.org ESMTP\r\n',
  nothing: '',
  'a TLS alert': Buffer.from([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x16]),
  'a TLS hello that breaks off': Buffer.from([0x16, 0x03, 0x03, 0x40, 0x00, 0x02]),
  noise: Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i)),
  'HTTP/0.9': '<html>hello</html>',
  'HTTP/2': 'HTTP/2.0 200 OK\r\n\r\n',
  'a status of no number': 'HTTP/1.1 abc OK\r\n\r\n',
  'a status of 999': 'HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n',
  'a status of 099': 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n',
  'a switch of protocols': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
  'only a hint': 'HTTP/1.1 103 Early Hints\r\n\r\n',
  'bytes that no header may have': `${HEAD}X-\x01Y: \x00\x02\r\n\r\n`,
  'a header without a name': `${HEAD}: x\r\n\r\n`,
  'a header without a colon': `${HEAD}nonsense\r\n\r\n`,
  'a header that folds': `${HEAD}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`,
  'bare line feeds': 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok',
  'a flood of headers': `${HEAD}${'X: y\r\n'.repeat(100_000)}\r\n`,
  'a header of a megabyte': `${HEAD}X: ${'y'.repeat(1_000_000)}\r\n\r\n`,
  'headers that break off': `${HEAD}Content-Le`,
  'two lengths': `${HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk`,
  'a length and chunks': `${HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  'a negative length': `${HEAD}Content-Length: -1\r\n\r\n`,
  'a length beyond all numbers': `${HEAD}Content-Length: 99999999999999999999999\r\n\r\nx`,
  'a body that breaks off': `${HEAD}Content-Length: 100\r\n\r\nshort`,
  'chunks of no number': `${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n`,
  'a chunk that breaks off': `${HEAD}Transfer-Encoding: chunked\r\n\r\nff\r\nok`,
  'a chunk beyond all numbers': `${HEAD}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nok`,
  'chunks without an end': `${HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`,
  'an unknown coding': `${HEAD}Transfer-Encoding: gzip, x\r\n\r\nok`,
  'more than its length': `${HEAD}Content-Length: 2\r\n\r\nok and more`,
  'two answers': `${HEAD}Content-Length: 2\r\n\r\nok${HEAD}Content-Length: 2\r\n\r\nok`,
  'a redirect to no URL': 'HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n',
  'a redirect to another scheme': 'HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n',
  'a redirect to a port that is none': 'HTTP/1.1 302 Found\r\nLocation: http://x:99999/\r\nContent-Length: 0\r\n\r\n',
  'a redirect in other bytes': Buffer.from(
    'HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\x80\r\nContent-Length: 0\r\n\r\n',
    'latin1',
  ),
};

describe.each(['http', 'https'])('over %s', (scheme) => {
  describe.each([false, true])('said at once: %s', (atOnce) => {
    it.each(Object.keys(ANSWERS))('%s is read, or is an error of ours', async (name) => {
      const error = await outcome(`${scheme}://${await talker(ANSWERS[name] ?? '', { atOnce })}/`);
      if (error !== undefined) expect(error).toMatchObject({ code: 'ERR_NETWORK' });
      if (scheme === 'https') expect(error).toBeDefined();
    });
  });
});

it.each([
  'two lengths',
  'a length and chunks',
  'a flood of headers',
  'an SSH banner',
  'a negative length',
  'a 100 for nothing',
])('%s, which breaks the rules of HTTP, is not asked for again', async (name) => {
  const answer = ANSWERS[name] ?? 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(10);
  expect(await outcome(`http://${await talker(answer)}/`)).toMatchObject({ retryable: false, garbled: true });
});

it.each(['a body that breaks off', 'nothing', 'headers that break off'])('%s is asked for again', async (name) => {
  expect(await outcome(`http://${await talker(ANSWERS[name] ?? '')}/`)).toMatchObject({ retryable: true });
});

it('whatever the answer, it is read or is an error of ours', async () => {
  const pieces = fc.oneof(
    fc.constantFrom(...Object.values(ANSWERS).map((answer) => answer.toString('latin1').slice(0, 2000))),
    fc.constantFrom(...NASTY),
    fc.constantFrom(
      '\r\n',
      '\n',
      ': ',
      HEAD,
      'Content-Length: 3\r\n',
      'Transfer-Encoding: chunked\r\n',
      '\r\n\r\n',
      '0',
    ),
    fc.string({ unit: 'binary', maxLength: 20 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(pieces, { maxLength: 6 }), async (parts) => {
      const error = await outcome(`http://${await talker(Buffer.from(parts.join(''), 'latin1'))}/`);
      expect(error === undefined || isNixcacheError(error, 'ERR_NETWORK')).toBe(true);
    }),
    { numRuns: 60 },
  );
});

it.each(['a\nb', 'a\rb', 'a\0b', 'ünïcode €', '\u{1f600}'])(
  'a header that HTTP cannot carry is an error of ours: %j',
  async (value) => {
    const client = new HttpClient();
    onTestFinished(() => client.destroy());
    const url = `http://${await talker(`${HEAD}Content-Length: 0\r\n\r\n`)}/`;
    const asking = client.request({ url, headers: { authorization: value } });
    await expect(asking).rejects.toMatchObject({ code: 'ERR_NETWORK', message: expect.not.stringContaining(value) });
  },
);

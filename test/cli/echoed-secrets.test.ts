/** A registry, or whatever stands before it, that repeats all it was sent: none of our secrets is shown. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tempDir } from '../support/temp-dir.ts';
import { runCli } from './run-cli.ts';

const SECRET = 'hunter22/pass+word=of~mine';
const FETCHED = 'eyJhbGciOiJub25lIn0.fetched-token-0123456789';
let scheme: 'Basic' | 'Bearer' = 'Basic';
let host = '';
let heard = '';

const echo = createServer(async (request, response) => {
  const body = (await request.toArray()).join('');
  const { authorization = '' } = request.headers;
  if (request.url?.startsWith('/token') && (authorization !== '' || body.includes('refresh_token='))) {
    heard += authorization + body;
    if (request.url.includes('refuse')) response.writeHead(403).end(`no: ${authorization} ${body} ${request.url}`);
    else response.end(JSON.stringify({ token: FETCHED }));
  } else if (authorization === '') {
    const parameters = scheme === 'Basic' ? 'realm="x"' : `realm="http://${host}/token",service="x"`;
    response.writeHead(401, { 'www-authenticate': `${scheme} ${parameters}` }).end();
  } else {
    heard += authorization;
    const said = [authorization, authorization.replace(/=+$/, ''), decodeURIComponent(atob64(authorization))];
    const message = `denied: ${said.join(' ')}`;
    response.writeHead(403, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ errors: [{ code: 'DENIED', message, detail: request.rawHeaders }] }));
  }
});
const atob64 = (header: string): string =>
  encodeURIComponent(Buffer.from(header.slice(6), 'base64').toString('latin1'));

beforeAll(async () => {
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const address = echo.address();
  host = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});
afterAll(() => {
  echo.closeAllConnections();
  echo.close();
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const KINDS: readonly (readonly [string, 'Basic' | 'Bearer', object | undefined])[] = [
  ['a password of ours', 'Basic', undefined],
  ['a login in docker’s file', 'Basic', { auth: base64(`me:${SECRET}`) }],
  ['a login that buys a token', 'Bearer', { auth: base64(`me:${SECRET}`) }],
  ['a refresh token', 'Bearer', { identitytoken: SECRET }],
  ['a registry token', 'Bearer', { registrytoken: SECRET }],
];

describe.each(KINDS)('%s', (_, asked, auth) => {
  it.each([['-v'], ['-v', '--json'], ['--json']])('is shown in no form with %s %s', async (...flags) => {
    scheme = asked;
    heard = '';
    const home = await tempDir();
    await mkdir(join(home, '.docker'));
    const auths = auth === undefined ? {} : { [host]: auth };
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths }));
    const env = { HOME: home, ...(auth ? {} : { NIXCACHE_USERNAME: 'me', NIXCACHE_PASSWORD: SECRET }) };
    const { exitCode, stdout, stderr } = await runCli(['list', '--cache', `${host}/o/r`, ...flags], { env });
    const shown = stdout + stderr;
    expect(exitCode).toBe(1);
    expect(heard).not.toBe('');
    expect(shown).toContain('denied');
    for (const secret of [SECRET, `me:${SECRET}`, FETCHED]) {
      for (const form of [
        secret,
        base64(secret),
        encodeURIComponent(secret),
        Buffer.from(secret).toString('base64url'),
      ])
        expect(shown).not.toContain(form);
    }
    expect(shown).not.toContain('hunter22');
  });
});

it.each(['doctor', 'list'])(
  'a password that is a common word is not in what %s quotes, in its result either',
  async (command) => {
    scheme = 'Basic';
    const env = { HOME: await tempDir(), NIXCACHE_USERNAME: 'me', NIXCACHE_PASSWORD: 'walker' };
    const { stdout, stderr } = await runCli([command, '--cache', `${host}/o/walker-1`, '--json'], { env });
    expect(stdout).toContain('denied');
    const elsewhere = (stdout + stderr).replaceAll('walker-1', '');
    expect(elsewhere).not.toContain('walker');
    expect(elsewhere).not.toContain(base64('me:walker'));
  },
);

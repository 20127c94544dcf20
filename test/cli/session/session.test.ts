import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { CommandContext } from '../../../src/cli/context.ts';
import { Session } from '../../../src/cli/session/session.ts';
import type { Flags } from '../../../src/config/setting.ts';
import { generateKey } from '../../../src/nix/signature.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { serve } from '../../http/far-side.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';
import { FAKE_USER } from '../../support/fake-registry-auth.ts';
import { PROFILES } from '../../support/fake-registry-faults.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { keptOutput } from '../streams.ts';

async function contextOf(stdin = ''): Promise<CommandContext> {
  const home = await tempDir();
  return {
    output: keptOutput().output,
    ...{ env: { HOME: home, XDG_CACHE_HOME: join(home, 'cache') }, cwd: home },
    ...{ stdin: Readable.from([Buffer.from(stdin)]), signal: new AbortController().signal, exitCode: undefined },
  };
}

const open = async (flags: Flags, stdin?: string): Promise<Session> =>
  Session.open({ flags, context: await contextOf(stdin) });

describe('a session', () => {
  it('looks at no more than it is asked for', async () => {
    const session = await open({ cache: './not a reference', passwordStdin: true });
    await session[Symbol.asyncDispose](); // neither the reference nor standard input was read
    expect(() => session.cache).toThrow(/^--cache: /);
    await expect(session.credentials()).rejects.toThrow(/nothing on standard input/);
  });

  it("asks upstreams with Nix's own logins", async () => {
    const seen: (string | undefined)[] = [];
    const server = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end('StoreDir: /nix/store\n');
    });
    await using session = await open({});
    const file = join(session.context.cwd, 'netrc');
    await writeFile(file, 'machine 127.0.0.1 login me password hunter22');
    const env = { ...session.context.env, NIX_CONFIG: `netrc-file = ${file}` };
    await using knowing = new Session(session.sources, { ...session.context, env });
    for (const url of [server.url, server.url.replace('//', '//own:login@')]) {
      const [upstream] = knowing.upstreams([{ ...parseUpstream(url), proxy: undefined }], { patience: PROMPT });
      await upstream?.fetchCacheInfo({});
    }
    const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`;
    expect(seen).toEqual([basic('me:hunter22'), basic('own:login')]);
  });

  it('keeps one set of connections for each proxy, however often settings are read again', async () => {
    await using session = await open({});
    expect(session.http).toBe(session.http);
    const opening = vi.spyOn(session, 'add');
    const settings = ['http://one.example', 'http://two.example', 'http://one.example'].map((proxy) => ({
      ...parseUpstream('http://cache.example'),
      proxy,
    }));
    for (let time = 0; time < 3; time += 1) session.upstreams(settings, { patience: PROMPT });
    expect(opening).toHaveBeenCalledTimes(2);
  });

  it('opens each part once, and reads standard input once', async () => {
    await using session = await open({ cache: 'oci:cache', passwordStdin: true }, 'hunter22\n');
    expect(session.http).toBe(session.http);
    expect(session.cache).toBe(session.cache);
    expect(await Promise.all([session.credentials(), session.credentials()])).toEqual([
      { username: undefined, password: 'hunter22' },
      { username: undefined, password: 'hunter22' },
    ]);
  });

  it('warns of a key file that others can read', async () => {
    const context = await contextOf();
    await using session = await Session.open({ flags: {}, context });
    const heard: string[] = [];
    context.output.warn = (text) => heard.push(text);
    const file = join(context.cwd, 'k');
    await writeFile(file, generateKey('a-1').secret);
    for (const mode of [0o600, 0o400, 0o640, 0o604, 0o664]) {
      await chmod(file, mode);
      await session.signingKeys([{ from: '--key-file', file }]);
    }
    expect(heard).toEqual(
      ['0640', '0604', '0664'].map(
        (mode) => `the signing key ${file} can be read by others (mode ${mode}): chmod 600 ${file}`,
      ),
    );
  });

  it('closes what was opened in reverse order, all of it even where one fails', async () => {
    const session = await open({ cache: 'oci:cache' });
    const closed: string[] = [];
    for (const name of ['first', 'second', 'third']) {
      session.add(name, (each) => {
        closed.push(each);
        if (each === 'second') throw new Error('stuck');
      });
    }
    await expect(session[Symbol.asyncDispose]()).rejects.toThrow('stuck');
    expect(closed).toEqual(['third', 'second', 'first']);
  });

  it('lets go of its connections, also after a failure', async () => {
    const sockets = new Set<unknown>();
    const server = createServer((_request, response) => response.end('hello')).on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const failing = async (): Promise<void> => {
      await using session = await open({ cache: 'oci:cache' });
      const { body } = await session.http.request({ url: `http://127.0.0.1:${port}/` });
      body.resume();
      expect(sockets.size).toBe(1);
      throw new Error('the command failed');
    };
    await expect(failing()).rejects.toThrow('the command failed');
    await expect.poll(() => sockets.size).toBe(0);
  });

  it('gives the registry what the user gave for it', async () => {
    const registry = await FakeRegistry.start(PROFILES.ghcr);
    onTestFinished(() => registry.close());
    const cache = `${registry.host}/team/cache`;
    const given = { cache, username: FAKE_USER.username, passwordStdin: true };
    await using session = await open(given, `${FAKE_USER.password}\n`);
    const store = await session.store();
    const reader = await session.reader(store, { strict: true });
    await reader.refresh();
    expect(reader.status()).toMatchObject({ entries: 0 });
    await using stranger = await open({ cache });
    const refused = await stranger.reader(await stranger.store(), { strict: true });
    await expect(refused.refresh()).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
  });
});

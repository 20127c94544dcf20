/** Where a server listens, and who comes in. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Connections, clientOf } from '../../../src/serve/node/connections.ts';
import { placeOf } from '../../../src/serve/node/places.ts';
import { startServer } from '../../../src/serve/node/server.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { tempDir } from '../../support/temp-dir.ts';

const start = (listen: string, mode?: number) =>
  startServer({ reader: new MemoryCacheReader(), places: [placeOf(listen, 0, mode)], drainMs: 100 });

async function statusAt(socketPath: string): Promise<number | undefined> {
  const asked = request({ socketPath, path: '/nix-cache-info', agent: false }).end();
  const [response] = await once(asked, 'response');
  response.resume();
  return response.statusCode;
}

describe('a unix socket', () => {
  it('is made with its mode, answers, and is gone at the end', async () => {
    const path = join(await tempDir(), 's.sock');
    const before = process.umask();
    for (const mode of [0o660, 0o666]) {
      const server = await start(`unix:${path}`, mode);
      expect(server.url).toBe(`unix:${path}`);
      expect(statSync(path).mode & 0o777).toBe(mode);
      expect(await statusAt(path)).toBe(200);
      await server.close();
      expect(existsSync(path)).toBe(false);
    }
    expect(process.umask()).toBe(before);
  });

  it('that a killed server left is replaced; one at which somebody listens is not, nor what is none', async () => {
    const path = join(await tempDir(), 's.sock');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
    const killed = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(killed.stdout, 'data');
    await expect(start(`unix:${path}`)).rejects.toThrow(/s\.sock: another program listens there already/);
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    expect(existsSync(path)).toBe(true);
    const server = await start(`unix:${path}`);
    onTestFinished(() => server.close());
    expect(await statusAt(path)).toBe(200);
    const file = join(await tempDir(), 'file');
    writeFileSync(file, 'kept');
    await expect(start(`unix:${file}`)).rejects.toThrow('something else than a socket');
    expect(existsSync(file)).toBe(true);
  });
});

it('a unix socket in a directory that is not there names the directory', async () => {
  const directory = join(await tempDir(), 'none');
  await expect(start(`unix:${directory}/s.sock`)).rejects.toThrow(`: there is no directory ${directory}: make it`);
});

it('a server may listen at several places', async () => {
  const path = join(await tempDir(), 's.sock');
  const places = [placeOf('127.0.0.1', 0), placeOf(`unix:${path}`, 0)];
  const server = await startServer({ reader: new MemoryCacheReader(), places, drainMs: 100 });
  onTestFinished(() => server.close());
  expect(server.urls).toEqual([expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), `unix:${path}`]);
  expect((await fetch(`${server.url}/nix-cache-info`)).status).toBe(200);
});

it('a server that cannot listen at one of its places listens at none', async () => {
  const path = join(await tempDir(), 's.sock');
  const places = [placeOf(`unix:${path}`, 0), { kind: 'inherited', fd: 1_000_000 } as const];
  await expect(startServer({ reader: new MemoryCacheReader(), places })).rejects.toMatchObject({
    code: 'ERR_USAGE',
    message: expect.stringContaining('listen on socket 1000000: '),
  });
  expect(existsSync(path)).toBe(false);
});

describe('too many connections', () => {
  it('cost the client that has the most, and never one that has fewer', async () => {
    const dropped: string[] = [];
    const connections = new Connections({ max: 4, closeIdle: () => {}, onDrop: () => void dropped.push('x') });
    const open = (remoteAddress: string, name: string) => {
      const socket = connect({ port: 1, host: '127.0.0.1', lookup: () => {} });
      socket.on('error', () => {});
      Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress });
      connections.add(socket);
      return { name, socket };
    };
    const greedy = ['a', 'b', 'c', 'd'].map((name) => open('192.0.2.1', name));
    const other = open('192.0.2.2', 'other');
    expect(greedy.map(({ socket }) => socket.destroyed)).toEqual([false, false, false, true]);
    const another = open('2001:db8:0:1::5', 'v6');
    expect(greedy.map(({ socket }) => socket.destroyed)).toEqual([false, false, true, true]);
    const more = open('192.0.2.1', 'more');
    expect([more, other, another].map(({ socket }) => socket.destroyed)).toEqual([true, false, false]);
    expect([connections.open.size, dropped.length]).toEqual([4, 3]);
    for (const { socket } of [...greedy, other, another]) socket.destroy();
    await expect.poll(() => connections.open.size).toBe(0);
  });

  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    [undefined, 'unix'],
  ])('from %s are those of %s', (address, client) => {
    expect(clientOf(address)).toBe(client);
  });
});

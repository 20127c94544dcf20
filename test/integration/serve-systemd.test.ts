/** `serve` as a service manager runs it: with a socket that is open already, and told of what it does. */
import { once } from 'node:events';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it, onTestFinished } from 'vitest';
import { smallCache } from '../cli/commands/small-cache.ts';
import { requireBuild } from '../support/e2e-cli.ts';
import { tempDir } from '../support/temp-dir.ts';

requireBuild();
const BIN = fileURLToPath(new URL('../../bin/nixcache.js', import.meta.url));
const cache = smallCache();

/** The machine's own Node, which may be an older one: then our launcher hands the socket on. */
const withoutModules = (process.env['PATH'] ?? '').split(':').filter((each) => !each.includes('node_modules'));

it.each([
  ['this Node', process.execPath],
  ["the machine's own", 'node'],
])('serves at the socket it was given, under %s, and tells how it is', async (_, node) => {
  const directory = await tempDir();
  const program = join(directory, 'systemd-notify');
  await writeFile(program, `#!/bin/sh\necho "$@" >> ${directory}/heard\n`);
  await chmod(program, 0o755);
  const given = createServer();
  given.listen(0, '127.0.0.1');
  await once(given, 'listening');
  onTestFinished(() => void given.close());
  const { port } = given.address() as AddressInfo;
  const { fd } = (given as unknown as { _handle: { fd: number } })._handle;
  const args = [node, BIN, 'serve', '--from', cache.reference, '--no-upstream'];
  // The process that is to have it is known only once it is there.
  const child = execa('sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...args], {
    stdio: ['ignore', 'pipe', 'pipe', fd as 3], // any number
    extendEnv: false,
    reject: false,
    timeout: 60_000,
    env: { PATH: [directory, ...withoutModules].join(':'), HOME: cache.home, LISTEN_FDS: '1', NOTIFY_SOCKET: '@none' },
  });
  const [line] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  expect(String(line)).toBe(`http://127.0.0.1:${port}\n`);
  given.close(); // what we have of it would take connections, too
  const heard = async (): Promise<string> => readFile(join(directory, 'heard'), 'utf8').catch(() => '');
  await expect.poll(heard).toBe(`READY=1 STATUS=${cache.reference}: 4 entries\n`);
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  child.kill('SIGHUP');
  await expect.poll(heard).toMatch(/\nRELOADING=1 MONOTONIC_USEC=\d+\nREADY=1 STATUS=.*\n$/);
  child.kill('SIGTERM');
  const { exitCode, stderr } = await child;
  expect(await heard()).toMatch(/\nSTOPPING=1 STATUS=.*\n$/);
  expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining('warning')]);
});

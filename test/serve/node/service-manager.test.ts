import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { inheritedSockets, notifierOf, ServiceManager, watchdogMs } from '../../../src/serve/node/service-manager.ts';
import { tempDir } from '../../support/temp-dir.ts';

const IDS = { pid: 70, parentPid: 60 };

it.each([
  [{ LISTEN_FDS: '2', LISTEN_PID: '70' }, [3, 4]],
  [{ LISTEN_FDS: '1', LISTEN_PID: '60' }, [3]],
  [{ LISTEN_FDS: '2', LISTEN_PID: '71' }, []],
  [{ LISTEN_FDS: '2' }, []],
  [{ LISTEN_FDS: '0', LISTEN_PID: '70' }, []],
  [{ LISTEN_FDS: 'x', LISTEN_PID: '70' }, []],
  [{ LISTEN_FDS: '1e9', LISTEN_PID: '70' }, []],
  [{}, []],
])('sockets were opened for us by %j: %j', (env, sockets) => {
  expect(inheritedSockets(env, IDS)).toEqual(sockets);
});

it.each([
  [{ WATCHDOG_USEC: '2000000' }, 2000],
  [{ WATCHDOG_USEC: '2000000', WATCHDOG_PID: '70' }, 2000],
  [{ WATCHDOG_USEC: '2000000', WATCHDOG_PID: '71' }, undefined],
  [{ WATCHDOG_USEC: '0' }, undefined],
  [{}, undefined],
])('a watchdog waits as %j says: %s ms', (env, ms) => {
  expect(watchdogMs(env, IDS)).toBe(ms);
});

describe('the service manager', () => {
  it('hears in order how we are, and a watchdog in time', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const heard: string[] = [];
    const notify = async (assignments: readonly string[]) => void heard.push(assignments.join(' | '));
    const manager = new ServiceManager({ notify, watchdogMs: 1000, onWarning: () => {} });
    await manager.ready('a\nREADY=0');
    await vi.advanceTimersByTimeAsync(1100);
    void manager.reloading(123n);
    await manager.ready('b');
    await manager.stopping();
    manager.close();
    await vi.advanceTimersByTimeAsync(5000);
    expect(heard).toEqual([
      'READY=1 | STATUS=a READY=0',
      ...['WATCHDOG=1', 'WATCHDOG=1'],
      'RELOADING=1 | MONOTONIC_USEC=123',
      'READY=1 | STATUS=b',
      'STOPPING=1 | STATUS=ending what is under way',
    ]);
  });

  it('that cannot be told is complained of once', async () => {
    const warnings: string[] = [];
    const notify = async () => Promise.reject(new Error('spawn systemd-notify ENOENT'));
    const manager = new ServiceManager({ notify, onWarning: (text) => void warnings.push(text) });
    await manager.ready('');
    await manager.stopping();
    expect(warnings).toEqual(['systemd cannot be told how serve is: spawn systemd-notify ENOENT']);
  });

  it('is told by its own program, which gets nothing else of our environment', async () => {
    expect(notifierOf({ PATH: '/bin' })).toBeUndefined();
    const directory = await tempDir();
    const program = join(directory, 'systemd-notify');
    await writeFile(program, `#!/bin/sh\n{ echo "$@"; env; } >> ${directory}/heard\n`);
    await chmod(program, 0o755);
    const PATH = `${directory}:${process.env['PATH']}`;
    await notifierOf({ PATH, NOTIFY_SOCKET: '@x', GITHUB_TOKEN: 'secret' })?.(['READY=1', 'STATUS=a b']);
    const heard = await readFile(join(directory, 'heard'), 'utf8');
    expect(heard).toMatch(/^READY=1 STATUS=a b\n/);
    expect(heard).toContain('NOTIFY_SOCKET=@x');
    expect(heard).not.toContain('secret');
  });
});

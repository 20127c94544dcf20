import { once } from 'node:events';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { NixcacheError } from '../../../src/errors.ts';
import { withFileLock } from '../../../src/oci/layout/file-lock.ts';
import { tempDir } from '../../support/temp-dir.ts';

const CHILD = fileURLToPath(new URL('file-lock.child.ts', import.meta.url));

/** Starts a process that holds `lock`, run by `wrapper`, and gives what kills it. */
async function holder(lock: string, wrapper: readonly string[] = []): Promise<() => Promise<void>> {
  const [command = '', ...rest] = [...wrapper, process.execPath, CHILD, 'hold', lock];
  const child = execa(command, rest, { reject: false, buffer: false, timeout: 120_000 });
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await child;
  };
  onTestFinished(kill);
  await once(child.stdout, 'data');
  return kill;
}

const isFree = (lock: string): Promise<boolean> =>
  withFileLock(lock, async () => true, { timeoutMs: 0 }).catch((error: unknown) => {
    if (error instanceof NixcacheError && error.code === 'ERR_IO') return false;
    throw error;
  });

describe('a file lock', () => {
  it('lets one in at a time, of several processes', async () => {
    const directory = await tempDir();
    const [lock, file] = [join(directory, 'lock'), join(directory, 'count')];
    await writeFile(file, '0');
    await Promise.all(Array.from({ length: 4 }, () => execa(process.execPath, [CHILD, 'increment', lock, file, '25'])));
    expect(await readFile(file, 'utf8')).toBe('100');
  });

  it('lets one in at a time, within one process', async () => {
    const lock = join(await tempDir(), 'lock');
    let inside = 0;
    const turns = Array.from({ length: 20 }, () =>
      withFileLock(lock, async () => {
        inside += 1;
        await new Promise((resolve) => setImmediate(resolve));
        expect(inside).toBe(1);
        inside -= 1;
      }),
    );
    await Promise.all(turns);
  });

  it('is free at once when its holder is killed', async () => {
    const lock = join(await tempDir(), 'lock');
    const kill = await holder(lock);
    expect(await isFree(lock)).toBe(false);
    await kill();
    expect(await isFree(lock)).toBe(true);
  });

  it('holds against a holder in another container, whose pid means nothing here', async () => {
    const lock = join(await tempDir(), 'lock');
    const container = ['unshare', '--pid', '--mount-proc', '--uts', '--ipc', '--fork', '--kill-child'];
    const kill = await holder(lock, container);
    expect(await isFree(lock)).toBe(false);
    await kill();
    await expect.poll(() => isFree(lock)).toBe(true);
  });

  it('says which file and how to find the holder when its time is up', async () => {
    const lock = join(await tempDir(), 'lock');
    await holder(lock);
    const waiting = withFileLock(lock, async () => undefined, { timeoutMs: 50 });
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining(`lock ${lock}`) });
  });

  it('is no longer awaited after an abort', async () => {
    const lock = join(await tempDir(), 'lock');
    await holder(lock);
    const controller = new AbortController();
    const reason = new NixcacheError('ERR_INTERRUPTED', 'stopped');
    const waiting = withFileLock(lock, async () => undefined, { signal: controller.signal });
    setTimeout(() => controller.abort(reason), 20);
    await expect(waiting).rejects.toBe(reason);
  });

  it('is given back when its user throws', async () => {
    const lock = join(await tempDir(), 'lock');
    const failed = withFileLock(lock, () => Promise.reject(new Error('within')));
    await expect(failed).rejects.toThrow('within');
    expect(await isFree(lock)).toBe(true);
  });

  it('leaves one empty file and nothing else', async () => {
    const directory = await tempDir();
    await withFileLock(join(directory, 'lock'), async () => {
      expect(await readdir(directory)).toEqual(['lock']);
    });
    expect(await readdir(directory)).toEqual(['lock']);
    expect((await stat(join(directory, 'lock'))).size).toBe(0);
  });

  it('says which path it cannot make', async () => {
    const lock = join(await tempDir(), 'absent', 'lock');
    const failing = withFileLock(lock, async () => undefined);
    await expect(failing).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringContaining(lock) });
  });

  it('prints no warning of Node about SQLite', async () => {
    const directory = await tempDir();
    const file = join(directory, 'count');
    await writeFile(file, '0');
    const { stderr } = await execa(process.execPath, [CHILD, 'increment', join(directory, 'lock'), file, '1']);
    expect(stderr).toBe('');
  });
});

/** A signal ends the process, also while a thread of it waits in the operating system for something that never comes. */
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { placeOddFile } from '../support/odd-files.ts';
import { tempDir } from '../support/temp-dir.ts';

const MODULE = join(import.meta.dirname, '../../src/cli/interruption.ts');

/** A process that waits for a pipe that nobody writes to, and leaves `child` to its end. */
async function startWaiting(stopMs: number) {
  const pipe = join(await tempDir(), 'pipe');
  await placeOddFile(pipe, 'pipe');
  const script = `
    const { readFile } = await import('node:fs/promises');
    const { interruptible } = await import(${JSON.stringify(MODULE)});
    const say = (text) => process.stderr.write(text + '\\n');
    const signal = interruptible({ output: { info: say, warn: say }, stopMs: () => ${stopMs} });
    signal.addEventListener('abort', () => say('aborted'));
    process.once('exit', () => say('exit handlers ran'));
    readFile(${JSON.stringify(pipe)}).catch(() => {});
    say('waiting');
  `;
  const child = execa(process.execPath, ['--input-type=module', '--eval', script], {
    reject: false,
    timeout: 30_000,
    killSignal: 'SIGKILL',
  });
  const said = (text: string) =>
    new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk: Buffer) => chunk.includes(text) && resolve());
    });
  await said('waiting');
  return { child, said };
}

describe.runIf('execve' in process)('a signal', () => {
  it('that nothing heeds ends the process with 130 all the same, and says so', async () => {
    const { child } = await startWaiting(100);
    child.kill('SIGTERM');
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(130);
    expect(stderr).toBe(
      [
        'waiting',
        'SIGTERM: stopping; once more to stop at once',
        'aborted',
        'not stopped 0.1 s after SIGTERM: ending without waiting any longer',
        'exit handlers ran',
      ].join('\n'),
    );
  });

  it('that comes a second time ends it at once', async () => {
    const { child, said } = await startWaiting(1_000_000);
    const aborted = said('aborted');
    child.kill('SIGINT');
    await aborted;
    const again = setInterval(() => child.kill('SIGINT'), 50); // one that comes too soon counts as the first
    const { exitCode, signal } = await child;
    clearInterval(again);
    // The program that takes our place may itself be hit by one signal more.
    expect(exitCode ?? signal).toSatisfy((end) => end === 130 || end === 'SIGINT');
  });
});

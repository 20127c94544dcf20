/**
 * A process that takes a lock, for file-lock.test.ts:
 *   increment LOCK FILE TIMES   adds one to the number in FILE, so often
 *   hold LOCK                   says 'held' and keeps the lock until it is killed
 */
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { withFileLock } from '../../../src/oci/layout/file-lock.ts';

const [mode = '', lock = '', file = '', times = ''] = process.argv.slice(2);

if (mode === 'increment') {
  for (let done = 0; done < Number(times); done += 1) {
    await withFileLock(lock, async () => {
      const count = Number(await readFile(file, 'utf8'));
      await sleep(1);
      await writeFile(file, String(count + 1));
    });
  }
} else {
  await withFileLock(lock, async () => {
    process.stdout.write('held\n');
    await sleep(60_000);
  });
}

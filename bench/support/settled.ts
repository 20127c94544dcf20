import { execa } from 'execa';

/** Runs after what the last one wrote has reached the disk: nobody pays for another's writes. */
export async function settled<T>(run: () => Promise<T>): Promise<T> {
  await execa('sync');
  return await run();
}

import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openDirectoryIndex } from '../../../src/cache/disk/directory-index.ts';
import { ODD_KINDS, placeOddFile } from '../../support/odd-files.ts';
import { tempDir } from '../../support/temp-dir.ts';

it.each(ODD_KINDS)(
  'a %s in the place of a piece is as good as no piece, and the next write replaces it',
  async (kind) => {
    const [directory, outside] = [await tempDir(), join(await tempDir(), 'outside')];
    await writeFile(outside, 'not ours');
    const index = await openDirectoryIndex(directory);
    await placeOddFile(join(directory, 'piece'), kind, outside);
    expect(await index?.has('piece')).toBe(false);
    expect(await index?.read('piece')).toBeUndefined();
    expect(await index?.open('piece')).toBeUndefined();
    const isWritten = kind !== 'directory';
    expect(await index?.write('piece', Buffer.from('ours'))).toBe(isWritten);
    if (isWritten) expect((await index?.read('piece'))?.toString()).toBe('ours');
    await index?.prune(() => false, new Date(Date.now() + 7 * 86_400_000));
    expect(await index?.has('piece')).toBe(false);
    expect(await readFile(outside, 'utf8')).toBe('not ours');
  },
);

it('gives any part of a piece in any order of reading, and says when it has become shorter', async () => {
  const directory = await tempDir();
  const index = await openDirectoryIndex(directory);
  const bytes = Buffer.from(Array.from({ length: 400_000 }, (_, at) => 97 + ((at * 7) % 26)));
  await index?.write('piece', bytes);
  const offset = fc.oneof(fc.nat(bytes.length), fc.nat(3000));
  fc.assert(
    fc.property(fc.array(fc.tuple(offset, fc.nat(200_000), fc.boolean()), { maxLength: 20 }), (reads) => {
      const text = index?.open('piece');
      if (text === undefined || text instanceof Promise) throw new Error('a directory answers at once');
      let end = 0;
      for (const [start, length, isNext] of reads) {
        const from = isNext ? end : start;
        const count = Math.min(length, bytes.length - from);
        end = from + count;
        expect(text.read(from, count)).toBe(bytes.toString('utf8', from, end));
      }
      text.close();
    }),
  );
  const text = await index?.open('piece');
  await truncate(join(directory, 'piece'), 100_000);
  expect(text?.read(99_000, 1000)).toHaveLength(1000);
  expect(() => text?.read(99_900, 1000)).toThrow('was cut short; remove it');
  text?.close();
});

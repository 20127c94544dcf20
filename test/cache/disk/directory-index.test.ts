import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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

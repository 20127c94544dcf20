import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { TemporarySpools } from '../../../../src/serve/node/disk/temporary-spools.ts';
import type { Spool } from '../../../../src/serve/object-cache.ts';
import { noise } from '../../../support/bytes.ts';
import { tempDir } from '../../../support/temp-dir.ts';

const BYTES = noise(500_000, 'spool');

async function fill(spool: Spool): Promise<void> {
  for (let at = 0; at < BYTES.length; at += 70_000) await spool.append(BYTES.subarray(at, at + 70_000));
}

async function readBack(spool: Spool, from: number, to: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let at = from; at < to; ) {
    const part = await spool.read({ offset: at, length: to - at });
    parts.push(part);
    at += part.length;
  }
  return Buffer.concat(parts);
}

describe('temporary spools', () => {
  it.each([1_000_000, 200_000, 0])('give back what was appended, with %d bytes of memory', async (memoryBytes) => {
    const directory = await tempDir();
    const spools = new TemporarySpools({ directory, memoryBytes, freeBytes: 0 });
    for (let round = 0; round < 2; round += 1) {
      const spool = spools.begin();
      await fill(spool);
      expect((await readBack(spool, 0, BYTES.length)).equals(BYTES)).toBe(true);
      expect((await readBack(spool, 69_999, 210_001)).equals(BYTES.subarray(69_999, 210_001))).toBe(true);
      spool.close();
      spool.close();
      expect(spools.memoryLeft).toBe(memoryBytes);
    }
    expect(await readdir(directory)).toEqual([]);
  });

  it('leave others their room, and keep what they had', async () => {
    const spools = new TemporarySpools({ directory: await tempDir(), memoryBytes: 200_000, freeBytes: 2 ** 60 });
    const spool = spools.begin();
    await expect(fill(spool)).rejects.toThrow('too little room');
    expect((await readBack(spool, 0, 140_000)).equals(BYTES.subarray(0, 140_000))).toBe(true);
    spool.close();
    expect(spools.memoryLeft).toBe(200_000);
  });

  it('share one memory, and hold no file of which a name is left', async () => {
    const directory = await tempDir();
    const spools = new TemporarySpools({ directory, memoryBytes: 600_000, freeBytes: 0 });
    const [one, two] = [spools.begin(), spools.begin()];
    await fill(one);
    await fill(two);
    expect(await readdir(directory)).toEqual([]);
    expect((await readBack(two, 0, BYTES.length)).equals(BYTES)).toBe(true);
    one.close();
    two.close();
  });
});

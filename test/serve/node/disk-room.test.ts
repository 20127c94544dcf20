import { describe, expect, it } from 'vitest';
import { messageOf } from '../../../src/errors.ts';
import { DiskRoom } from '../../../src/serve/node/disk-room.ts';

const MIB = 1024 * 1024;

/** A disk of 100 MiB, of which 2 stay free. */
function diskOf(freeBytes: number) {
  const disk = { freeBytes, totalBytes: 100 * MIB, least: freeBytes };
  const room = new DiskRoom('/uploads', async () => ({ ...disk }));
  const write = (bytes: number) => async (): Promise<void> => {
    disk.freeBytes -= bytes;
    disk.least = Math.min(disk.least, disk.freeBytes);
  };
  return { disk, room, write };
}

const NO_ROOM = { status: 507, message: expect.stringContaining('no room') };

describe('room on a disk', () => {
  it('is promised to one, and not to another at the same time', async () => {
    const { disk, room, write } = diskOf(62 * MIB);
    const asked = await Promise.allSettled([25, 25, 25, 10].map((size) => room.take(size * MIB)));
    expect(asked.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(asked[2]).toMatchObject({ reason: NO_ROOM });
    for (const each of asked) {
      if (each.status === 'fulfilled') for (let i = 0; i < 10; i++) await each.value.use(MIB, write(MIB));
    }
    expect(disk.least).toBe(32 * MIB);
    // What was promised is not there for others, until it is given back.
    await expect(room.take(MIB)).rejects.toMatchObject(NO_ROOM);
    for (const each of asked) if (each.status === 'fulfilled') each.value.release();
    await expect(room.take(30 * MIB)).resolves.toBeDefined();
  });

  it('of what has no known length ends where some is to stay free, to the last byte', async () => {
    const { disk, room, write } = diskOf(20 * MIB);
    const unknown = await Promise.all([room.take(0), room.take(0), room.take(0)]);
    const refused = new Set<unknown>();
    for (let i = 0; i < 100 && refused.size < unknown.length; i++) {
      for (const each of unknown) {
        await each.use(700_000, write(700_000)).catch((error: unknown) => {
          refused.add(each);
          each.release();
          expect(error).toMatchObject(NO_ROOM);
        });
      }
    }
    expect(disk.least).toBeGreaterThanOrEqual(2 * MIB);
    expect(disk.least).toBeLessThan(2 * MIB + 700_000);
  });

  it('that is missing is told to who uploads without saying where, and in the log with what to do', async () => {
    const error: unknown = await diskOf(MIB)
      .room.take(MIB)
      .catch((error: unknown) => error);
    expect(messageOf(error)).not.toMatch(/\/uploads|--upload-dir/);
    expect(error).toMatchObject({ detail: expect.stringMatching(/\/uploads.*--upload-dir/) });
  });

  it('is asked for again when asking failed', async () => {
    let isBroken = true;
    const room = new DiskRoom('/uploads', async () => {
      if (isBroken) throw new Error('gone');
      return { freeBytes: 50 * MIB, totalBytes: 100 * MIB };
    });
    await expect(room.take(1)).rejects.toThrow('gone');
    isBroken = false;
    await expect(room.take(1)).resolves.toBeDefined();
  });
});

/** Room on the disk of uploads: promised before it is taken, so that many at once leave free what is to stay free. */
import { statfs } from 'node:fs/promises';
import { NoRoomError } from '../upload/upload-error.ts';

/** Of the disk this much stays free, for what others have there: at most 256 MiB. */
const KEPT_SHARE = 0.02;
const MAX_KEPT_BYTES = 256 * 1024 * 1024;
/** Of what has no known length, so much is asked for at a time. */
const STEP_BYTES = 4 * 1024 * 1024;

export interface DiskSize {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** What one file may still take. */
export interface Room {
  /** Does `write`, which takes `bytes`, once there is room for them. @throws {NoRoomError} */
  use(bytes: number, write: () => Promise<void>): Promise<void>;
  /** Gives back what was not used. May be called again. */
  release(): void;
}

export class DiskRoom {
  readonly #directory: string;
  readonly #sizeOf: (directory: string) => Promise<DiskSize>;
  /** Bytes that were promised and are not written yet. */
  #promised = 0;
  #asking: Promise<unknown> = Promise.resolve();

  constructor(directory: string, sizeOf = sizeOfDisk) {
    this.#directory = directory;
    this.#sizeOf = sizeOf;
  }

  /** Room for `bytes`, and for more as long as there is. @throws {NoRoomError}; what the system says */
  async take(bytes: number): Promise<Room> {
    let left = await this.#promise(bytes, bytes);
    const spend = (spent: number): void => {
      left -= spent;
      this.#promised -= spent;
    };
    return {
      use: async (bytes, write) => {
        if (bytes > left) left += await this.#promise(bytes - left, Math.max(bytes - left, STEP_BYTES));
        await write();
        spend(bytes);
      },
      release: () => spend(left),
    };
  }

  /** Promises `most` bytes, or at least `least`. One at a time: nobody is to be promised what another was. */
  #promise(least: number, most: number): Promise<number> {
    const ask = async (): Promise<number> => {
      const { freeBytes, totalBytes } = await this.#sizeOf(this.#directory);
      const kept = Math.min(MAX_KEPT_BYTES, totalBytes * KEPT_SHARE);
      const available = Math.floor(freeBytes - kept - this.#promised);
      if (available < least) {
        throw new NoRoomError(
          `${this.#directory} has room for ${Math.max(0, available)} bytes more: make room on its disk, or choose another directory with --upload-dir`,
        );
      }
      const promised = Math.min(most, available);
      this.#promised += promised;
      return promised;
    };
    const asked = this.#asking.then(ask, ask);
    this.#asking = asked;
    return asked;
  }
}

async function sizeOfDisk(directory: string): Promise<DiskSize> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

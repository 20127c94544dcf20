import { close, read } from 'node:fs';
import type { ByteRange } from '../../../streams/byte-range.ts';
import type { KeptFacts, KeptObject } from '../../object-cache.ts';

const readAt = (fd: number, into: Buffer, at: number, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    read(fd, into, at, into.length - at, position, (error, bytesRead) => {
      if (error) reject(error);
      else resolve(bytesRead);
    });
  });

/** A kept NAR, open. */
export class DiskObject implements KeptObject {
  readonly facts: KeptFacts;
  readonly isSound: boolean;
  readonly vouch: () => void;
  readonly #fd: number;
  /** Reads under way: closing the file below them would have them read another. */
  #reading = 0;
  #isClosed = false;

  constructor(options: {
    readonly fd: number;
    readonly facts: KeptFacts;
    readonly isSound: boolean;
    readonly vouch: () => void;
  }) {
    this.#fd = options.fd;
    this.facts = options.facts;
    this.isSound = options.isSound;
    this.vouch = options.vouch;
  }

  async read({ offset, length }: ByteRange): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(length);
    await this.readInto(buffer, offset);
    return buffer;
  }

  async readInto(into: Buffer, position: number): Promise<void> {
    if (this.#isClosed) throw new RangeError('the file is closed');
    this.#reading += 1;
    try {
      for (let at = 0; at < into.length; ) {
        const bytesRead = await readAt(this.#fd, into, at, position + at);
        if (bytesRead === 0) throw new RangeError(`the file ends ${into.length - at} bytes too soon`);
        at += bytesRead;
      }
    } finally {
      this.#reading -= 1;
      this.#closeIfOver();
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#closeIfOver();
  }

  #closeIfOver(): void {
    if (this.#isClosed && this.#reading === 0) close(this.#fd, () => undefined);
  }
}

import { close, read } from 'node:fs';
import { promisify } from 'node:util';
import type { ByteRange } from '../../../streams/byte-range.ts';
import type { KeptFacts, KeptObject } from '../../object-cache.ts';

const readAsync = promisify(read);

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
    if (this.#isClosed) throw new RangeError('the file is closed');
    this.#reading += 1;
    try {
      for (let at = 0; at < length; ) {
        const { bytesRead } = await readAsync(this.#fd, buffer, at, length - at, offset + at);
        if (bytesRead === 0) throw new RangeError(`the file ends ${length - at} bytes too soon`);
        at += bytesRead;
      }
      return buffer;
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

/** Bytes that can be read into whatever room there is, as a stream; who knows what it is may take them without that detour. */
import { Readable } from 'node:stream';

export interface Readout {
  readonly length: number;
  /** Fills `into` with what is at `position`, as far as it goes before the end. @throws what the disk says, also when it ends too soon */
  read(into: Buffer, position: number): Promise<void>;
}

const CHUNK_BYTES = 256 * 1024;

export class ReadoutStream extends Readable {
  readonly readout: Readout;
  #position = 0;

  constructor(readout: Readout) {
    super({ highWaterMark: CHUNK_BYTES });
    this.readout = readout;
  }

  override _read(): void {
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.readout.length - this.#position));
    if (chunk.length === 0) {
      this.push(null);
      return;
    }
    this.readout.read(chunk, this.#position).then(
      () => {
        this.#position += chunk.length;
        this.push(chunk);
      },
      (error: Error) => this.destroy(error),
    );
  }
}

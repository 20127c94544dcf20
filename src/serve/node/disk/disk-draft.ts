/** A NAR that is being written, under a name that says how long it may become; what was written can be read meanwhile. */
import { type FileHandle, rm } from 'node:fs/promises';
import type { ByteRange } from '../../../streams/byte-range.ts';
import type { Draft, KeptFacts } from '../../object-cache.ts';
import { formatTail, tailBytes } from './object-file.ts';
import { readAll } from './read-all.ts';

export interface DraftFile {
  path: string;
  readonly handle: FileHandle;
}

/** There is no more room. The disk is all right. */
export class NoRoomError extends Error {}

interface DiskDraftOptions {
  readonly name: string;
  readonly file: DraftFile;
  /** Bytes that it may become long, with all that belongs to it. */
  readonly maxBytes: number;
  /** Makes room, and returns how long it may become then. @throws {NoRoomError} */
  readonly grow: (file: DraftFile, bytes: number) => Promise<number>;
  /** Gives the file its name. */
  readonly publish: (file: DraftFile, facts: KeptFacts) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
  readonly onClose: () => void;
}

export class DiskDraft implements Draft {
  readonly #options: DiskDraftOptions;
  #maxBytes: number;
  #length = 0;
  #state: 'writing' | 'failed' | 'kept' | 'closed' = 'writing';

  constructor(options: DiskDraftOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes;
  }

  async append(chunk: Buffer): Promise<void> {
    try {
      await this.#write(chunk, tailBytes(this.#length + chunk.length));
    } catch (error) {
      this.#state = 'failed';
      if (!(error instanceof NoRoomError)) this.#options.onTrouble(error);
      throw error;
    }
  }

  async read({ offset, length }: ByteRange): Promise<Buffer> {
    return await readAll(this.#options.file.handle, offset, length);
  }

  async keep(facts: KeptFacts): Promise<boolean> {
    const { name, file, publish, onTrouble } = this.#options;
    if (this.#state !== 'writing' || facts.pieces.size !== this.#length) return false;
    try {
      await this.#write(formatTail(name, facts), 0);
      await publish(file, facts);
      this.#state = 'kept';
      return true;
    } catch (error) {
      if (!(error instanceof NoRoomError)) onTrouble(error);
      return false;
    }
  }

  close(): void {
    if (this.#state === 'closed') return;
    const { file, onClose } = this.#options;
    const removed = this.#state === 'kept' ? Promise.resolve() : rm(file.path, { force: true });
    this.#state = 'closed';
    void Promise.allSettled([removed, file.handle.close()]).then(onClose);
  }

  async #write(bytes: Buffer, more: number): Promise<void> {
    const { file, grow } = this.#options;
    const lacking = this.#length + bytes.length + more - this.#maxBytes;
    if (lacking > 0) this.#maxBytes = await grow(file, this.#maxBytes + lacking);
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await file.handle.write(bytes, at, bytes.length - at, this.#length + at);
      at += bytesWritten;
    }
    this.#length += bytes.length;
  }
}

import { open } from 'node:fs/promises';

/** Writes a directory to the disk: once for all who ask while it is being written. */
export class SharedSync {
  readonly #directory: string;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** All that was renamed in the directory before this was called is there for good when it resolves. */
  async sync(): Promise<void> {
    // What is under way may have begun too early for whoever asks now.
    this.#next ??= (this.#running ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => {
        this.#running = this.#next;
        this.#next = undefined;
        return this.#sync();
      });
    await this.#next;
  }

  async #sync(): Promise<void> {
    const handle = await open(this.#directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

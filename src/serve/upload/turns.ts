/** Work on things with names: one after the other on the same thing, beside each other on others. */
export class Turns<K> {
  readonly #last = new Map<K, Promise<unknown>>();

  /** Does `work` on `key` once what is being done to it has ended. */
  async take<T>(key: K, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(key) ?? Promise.resolve()).catch(() => undefined).then(work);
    this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }
}

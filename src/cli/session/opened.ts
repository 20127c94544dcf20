/** What has been opened, closed in reverse order. AsyncDisposableStack would do, and Node 22 lacks it. */
export class Opened implements AsyncDisposable {
  readonly #closers: (() => unknown)[] = [];

  /** `close` may return a promise. */
  add<T>(resource: T, close: (resource: T) => unknown): T {
    this.#closers.push(() => close(resource));
    return resource;
  }

  /** Takes over all that is open: closing this one does nothing any more. */
  move(): Opened {
    const taken = new Opened();
    taken.#closers.push(...this.#closers.splice(0));
    return taken;
  }

  /** Closes everything, even after one fails; the first failure is thrown at the end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

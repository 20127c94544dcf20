/** What a cache answers and nothing can be made of: asked for again some times, for it may be a page that passes. */
import { NixcacheError } from '../errors.ts';

/** What a cache says of one path cannot be understood: that path's fault alone. */
export class UnreadableFileError extends NixcacheError {
  constructor(file: string, what: string, cause?: unknown) {
    super('ERR_UPSTREAM', `${file} cannot be used: ${what}`, { cause });
  }
}

/** In all, as often as Nix asks. */
const MAX_READS = 5;
/** Files that stayed unreadable, one after the other, after which a cache is taken to answer so to everything. */
const MAX_FILES = 3;

/** The unreadable files of one cache. */
export class UnreadableFiles {
  /** In a row. */
  #count = 0;

  /** Runs `read`, which asks again when what it is given says that this error is worth it. */
  async watch<T>(read: (isWorthIt: (error: unknown) => boolean) => Promise<T | undefined>): Promise<T | undefined> {
    let reads = 0;
    const isWorthIt = (error: unknown): boolean =>
      error instanceof UnreadableFileError && ++reads < MAX_READS && this.#count < MAX_FILES;
    try {
      const value = await read(isWorthIt);
      if (value !== undefined) this.#count = 0;
      return value;
    } catch (error) {
      if (error instanceof UnreadableFileError) this.#count += 1;
      throw error;
    }
  }
}

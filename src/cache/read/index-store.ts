/**
 * Where a reader keeps between runs what it has read: named pieces of bytes that can all be fetched again. A directory
 * (cache/disk) implements it; a Worker's memory or key-value store can.
 */

export type Awaitable<T> = T | Promise<T>;

/** A piece that is read bit by bit. */
export interface KeptText {
  readonly size: number;
  /** @throws {NixcacheError} ERR_INDEX when it has become shorter than that */
  read(offset: number, length: number): string;
  close(): void;
}

export interface IndexStore {
  /** For messages. */
  readonly name: string;
  has(piece: string): Awaitable<boolean>;
  /** The whole piece, or undefined if it is not there. @throws {NixcacheError} ERR_IO */
  read(piece: string): Awaitable<Buffer | undefined>;
  /** Undefined if it is not there. The caller closes it. @throws {NixcacheError} ERR_IO */
  open(piece: string): Awaitable<KeptText | undefined>;
  /** Replaces the piece in one step. False when it cannot be kept: a full disk must not stop a reader. */
  write(piece: string, bytes: Uint8Array): Awaitable<boolean>;
  /** Removes pieces that are not to be kept and that nobody wrote in the day before `now`: others may still need them. */
  prune(isKept: (piece: string) => boolean, now: Date): Awaitable<void>;
}

/** Where uploads lie until the cache has them. `serve/node` has the one on a disk. */
import type { Readable } from 'node:stream';
import type { ByteRange } from '../../streams/byte-range.ts';

/** A file that is being written, and is nothing to anybody until it is kept. */
export interface SpoolFile {
  /** `chunk` is the caller's again when it returns. @throws {NixcacheError} ERR_IO; NoRoomError */
  write(chunk: Uint8Array): Promise<void>;
  /** Has the file be there as the NAR `name`, also after a loss of power. @throws {NixcacheError} ERR_IO; NoRoomError */
  keep(name: string): Promise<void>;
  /** Removes what was written, unless it was kept. Never rejects. */
  discard(): Promise<void>;
}

export interface SpooledFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly receivedAt: Date;
}

export interface UploadSpool {
  /** For messages. */
  readonly name: string;
  /** @throws {NixcacheError} ERR_IO; NoRoomError when less than `bytes` are left beside what has to stay free */
  create(bytes: number): Promise<SpoolFile>;
  /** The NAR `name`, or a range of it. @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO */
  openNar(name: string, range?: ByteRange): Promise<Readable>;
  /** Whether the NAR `name` is there with so many bytes. @throws {NixcacheError} ERR_IO */
  hasNar(name: string, size: number): Promise<boolean>;
  /** One that is not there is no fault, and one that cannot be removed is in nobody's way. */
  removeNar(name: string): Promise<void>;
  /** Writes a record, which is there when this resolves, whatever happens then. @throws {NixcacheError} ERR_IO; NoRoomError */
  writeRecord(name: string, bytes: Uint8Array): Promise<void>;
  /** @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO */
  readRecord(name: string): Promise<Buffer>;
  removeRecord(name: string): Promise<void>;
  /** What earlier processes have kept. @throws {NixcacheError} ERR_IO */
  list(): Promise<{ readonly nars: readonly SpooledFile[]; readonly records: readonly string[] }>;
}

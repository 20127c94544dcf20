/**
 * Opening files that others may have put there. A named pipe would hold the reader for ever, a device may never end, and a
 * link may lead anywhere: none of them is read. Only what the user named may be a pipe, as a shell's `<(command)` is.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { abortReason, type CallOptions } from './call-options.ts';
import { NixcacheError } from './errors.ts';

/** Whether a path that is itself a link is opened. Links in the directories above it always are. */
export interface OpenRegularOptions {
  readonly links: 'followed' | 'refused';
}

/** There is something else than a regular file. */
export class NotRegular extends NixcacheError {}

/** O_NONBLOCK: opening a named pipe, or reading some files of the kernel, would wait. Windows has neither flag. */
const flagsOf = ({ links }: OpenRegularOptions, access = constants.O_RDONLY): number =>
  access | (constants.O_NONBLOCK ?? 0) | (links === 'refused' ? (constants.O_NOFOLLOW ?? 0) : 0);

/** @throws {NotRegular} ERR_IO; else what the file system says */
export const openRegular = (path: string, options: OpenRegularOptions): Promise<FileHandle> =>
  openWith(flagsOf(options), path, options);

const APPENDING = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

/**
 * Adds `text` to the end of a file, all of it or nothing. One that is not there is made; links are followed.
 *
 * @throws {NixcacheError} NotRegular; else what the file system says
 */
export async function appendRegular(path: string, text: string): Promise<void> {
  const links = { links: 'followed' } as const;
  await using handle = await openWith(flagsOf(links, APPENDING), path, links);
  const { size } = await handle.stat();
  try {
    await handle.writeFile(text);
  } catch (error) {
    await handle.truncate(size).catch(() => undefined); // what failed first is what counts
    throw error;
  }
}

async function openWith(flags: number, path: string, options: OpenRegularOptions): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, flags);
  } catch (cause) {
    throw explained(path, cause, options);
  }
  try {
    assertRegular(path, await handle.stat());
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The same for who cannot wait; the caller closes the descriptor. */
export function openRegularSync(path: string, options: OpenRegularOptions): number {
  let fd: number;
  try {
    fd = openSync(path, flagsOf(options));
  } catch (cause) {
    throw explained(path, cause, options);
  }
  try {
    assertRegular(path, fstatSync(fd));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export interface ReadRegularOptions extends OpenRegularOptions {
  /** A longer file is refused. */
  readonly maxBytes: number;
}

/** All of a file. @throws {NixcacheError} NotRegular; ERR_IO when it is too long; else what the file system says */
export async function readRegular(path: string, options: ReadRegularOptions): Promise<Buffer> {
  await using handle = await openRegular(path, options);
  const reading = new BoundedReading(path, (await handle.stat()).size, options.maxBytes);
  for (;;) {
    const { bytesRead } = await handle.read(reading.room());
    if (reading.isAtEnd(bytesRead)) return reading.bytes();
  }
}

/** 16 MiB: some 100 times what files that people write have. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** What stands in a file that one can do without: undefined when it is not there, or is nothing that can be read to its end. */
export async function readIfAny(path: string): Promise<string | undefined> {
  try {
    return (await readRegular(path, { links: 'followed', maxBytes: MAX_TEXT_BYTES })).toString('utf8');
  } catch {
    return undefined;
  }
}

export interface ReadNamedOptions extends CallOptions {
  /** A longer file is refused. */
  readonly maxBytes: number;
  /** How long a pipe may be without a writer; default 10 s. */
  readonly writerWaitMs?: number | undefined;
}

const WRITER_WAIT_MS = 10_000;
const POLL_MS = 20;

/**
 * All of a file that the user named. A pipe is read until its writer has closed it, which may take as long as it takes to
 * unlock a key; the signal ends that.
 *
 * @throws {NixcacheError} NotRegular; ERR_IO when it is too long, or a pipe to which nobody writes; else what the file system says
 */
export async function readNamed(path: string, options: ReadNamedOptions): Promise<Buffer> {
  const { maxBytes, signal, writerWaitMs = WRITER_WAIT_MS } = options;
  let handle: FileHandle;
  try {
    handle = await open(path, flagsOf({ links: 'followed' }));
  } catch (cause) {
    throw explained(path, cause, { links: 'followed' });
  }
  await using held = handle;
  const stats = await held.stat();
  if (!stats.isFIFO()) assertRegular(path, stats);
  const reading = new BoundedReading(path, stats.size, maxBytes);
  const deadlineMs = performance.now() + writerWaitMs;
  let hadWriter = !stats.isFIFO();
  for (;;) {
    if (signal?.aborted) throw abortReason(signal);
    const bytesRead = await readNow(held, reading.room());
    const isOver = bytesRead !== undefined && reading.isAtEnd(bytesRead);
    if (isOver && hadWriter) return reading.bytes();
    if (bytesRead !== 0)
      hadWriter = true; // bytes, or a writer that keeps us waiting
    else if (performance.now() > deadlineMs) {
      throw new NixcacheError('ERR_IO', `${path} is a pipe, and nobody wrote to it for ${writerWaitMs / 1000} s`);
    }
    if (bytesRead === undefined || bytesRead === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Undefined while a pipe has a writer and no bytes. */
async function readNow(handle: FileHandle, room: Buffer): Promise<number | undefined> {
  try {
    return (await handle.read(room, { position: null })).bytesRead;
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

/** `readRegular` for who cannot wait. */
export function readRegularSync(path: string, options: ReadRegularOptions): Buffer {
  const fd = openRegularSync(path, options);
  try {
    const reading = new BoundedReading(path, fstatSync(fd).size, options.maxBytes);
    for (;;) {
      if (reading.isAtEnd(readSync(fd, reading.room()))) return reading.bytes();
    }
  } finally {
    closeSync(fd);
  }
}

/** Smallest piece that is asked for: files in /proc say that they are empty. */
const MIN_ROOM_BYTES = 4096;

/** A file's size is a hint only: it may grow meanwhile. */
class BoundedReading {
  readonly #path: string;
  readonly #maxBytes: number;
  #buffer: Buffer;
  #length = 0;

  constructor(path: string, size: number, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    if (size > maxBytes) throw this.#tooLong();
    this.#buffer = Buffer.allocUnsafe(size + 1); // the byte more shows the end
  }

  room(): Buffer {
    if (this.#length === this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.#maxBytes + 1, Math.max(MIN_ROOM_BYTES, this.#length * 2)));
      this.#buffer.copy(grown, 0, 0, this.#length);
      this.#buffer = grown;
    }
    return this.#buffer.subarray(this.#length);
  }

  isAtEnd(bytesRead: number): boolean {
    this.#length += bytesRead;
    if (this.#length > this.#maxBytes) throw this.#tooLong();
    return bytesRead === 0;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #tooLong(): NixcacheError {
    return new NixcacheError('ERR_IO', `${this.#path} is longer than ${this.#maxBytes} bytes`);
  }
}

/**
 * Refuses a directory of ours that is a link: what is written and deleted in it would be somewhere else. One that is not
 * there is no fault.
 *
 * @throws {NotRegular} ERR_IO; else what the file system says
 */
export async function assertOwnDirectory(path: string): Promise<void> {
  const stats = await lstat(path).catch((cause: unknown) => {
    if (codeOf(cause) === 'ENOENT') return undefined;
    throw cause;
  });
  if (stats === undefined || stats.isDirectory()) return;
  const advice = stats.isSymbolicLink()
    ? '; nothing is read, written or deleted through links: link the directory above it, or mount the place there'
    : '; move it away';
  throw new NotRegular('ERR_IO', `${path} is ${kindOf(stats)}, and no directory of its own${advice}`);
}

function assertRegular(path: string, stats: Stats): void {
  if (!stats.isFile()) throw new NotRegular('ERR_IO', `${path} is ${kindOf(stats)}, and no regular file`);
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  if (stats.isFIFO()) return 'a named pipe';
  if (stats.isSocket()) return 'a socket';
  return stats.isFile() ? 'a file' : 'a device';
}

function explained(path: string, cause: unknown, { links }: OpenRegularOptions): unknown {
  const code = codeOf(cause);
  // Linux says ELOOP for a link that is not to be followed, FreeBSD EMLINK.
  if (links === 'refused' && (code === 'ELOOP' || code === 'EMLINK')) {
    return new NotRegular('ERR_IO', `${path} is a symbolic link, which is not followed`, { cause });
  }
  if (code === 'ENXIO' || code === 'EOPNOTSUPP') {
    return new NotRegular('ERR_IO', `${path} is a pipe that nobody reads, a socket or a device, and no regular file`, {
      cause,
    });
  }
  return cause;
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);

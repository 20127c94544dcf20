/**
 * NAR serialisation of a file system tree, byte for byte what `nix-store --dump` writes.
 *
 * Made for worker threads: everything is synchronous, file contents are read straight into the one buffer that is handed
 * out, and many small files share a chunk. Names and targets are bytes; they are kept as strings of one character a
 * byte ('latin1'), whose order by character is the order by byte that the format wants.
 *
 * Unlike `nix-store --dump` it never writes a NAR of a file that changed size under its hands, and refuses names and
 * targets that no Nix unpacks. Trees deeper than 64 levels are written, though Nix since 2.35 does not unpack them.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { NixcacheError } from '../errors.ts';
import { fileNameFromLatin1 } from './file-name.ts';
import {
  attempt,
  type DirectoryEntry,
  type FileKind,
  kindOfFile,
  readEntries,
  readTarget,
  shown,
  toPath,
} from './nar-file.ts';
import { ListingBudget, type NarNode } from './nar-listing.ts';
import { encodeTokens, MAX_TARGET_BYTES, NAR_MAGIC, paddingOf } from './nar-token.ts';

export interface NarWriterOptions {
  /** What chunks are made in, at least 64 KiB; may serve one NAR after another. */
  readonly buffer?: Buffer;
  /** Whether to keep the listing; costs memory with the number of files. */
  readonly withListing?: boolean;
  /** Whether to undo Nix's renaming of names that differ only in case; by default on macOS, as Nix does. */
  readonly caseHack?: boolean;
}

/** 256 KiB: stays in the processor's cache between reading, hashing and compressing. */
const DEFAULT_CHUNK_BYTES = 256 * 1024;
const MIN_BUFFER_BYTES = 64 * 1024;
/** Room for a node without contents: framing, a name and a target, each below 4 KiB. */
const NODE_ROOM = 8 * 1024;

const MAGIC = encodeTokens(NAR_MAGIC);
const ENTRY = encodeTokens('entry', '(', 'name');
const NODE_BYTES = 16;
const DIRECTORY = encodeTokens('node', '(', 'type', 'directory');
const REGULAR = encodeTokens('node', '(', 'type', 'regular', 'contents');
const EXECUTABLE = encodeTokens('node', '(', 'type', 'regular', 'executable', '', 'contents');
const SYMLINK = encodeTokens('node', '(', 'type', 'symlink', 'target');
const CLOSE = encodeTokens(')');
const CLOSE_ENTRY = encodeTokens(')', ')');

const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

interface Level {
  /** As bytes, without a final slash. */
  readonly path: string;
  readonly files: readonly DirectoryEntry[];
  next: number;
  readonly entries: Map<string, NarNode>;
}

/**
 * The NAR of `path`, chunk by chunk. A chunk is a view of one buffer that the next call overwrites: be done with it, or
 * copy it, before asking for the next. Leaving the loop early closes what is open.
 *
 *     const nar = new NarWriter('/nix/store/…-hello');
 *     for (const chunk of nar) { hash.update(chunk); await write(chunk); }
 *     console.log(nar.narSize);
 *
 * `next` throws NixcacheError: ERR_NOT_FOUND when `path` is not there, ERR_IO when something cannot be read,
 * ERR_NAR_MISMATCH when a file changes meanwhile, ERR_FORMAT for sockets, pipes, devices and what no NAR can hold.
 */
export class NarWriter implements IterableIterator<Uint8Array> {
  readonly #root: string;
  readonly #buffer: Buffer;
  #withListing: boolean;
  readonly #budget = new ListingBudget();
  readonly #caseHack: boolean;
  readonly #levels: Level[] = [];
  #at = 0;
  #yielded = 0;
  #state: 'new' | 'open' | 'done' = 'new';
  #listing: NarNode | undefined;
  /** The file whose contents are being read over several chunks. */
  #file: { readonly fd: number; readonly path: string; readonly size: number; readonly mtimeMs: number } | undefined;
  #left = 0;

  constructor(path: string | Buffer, options: NarWriterOptions = {}) {
    this.#root = Buffer.from(path).toString('latin1');
    this.#buffer = options.buffer ?? Buffer.allocUnsafe(DEFAULT_CHUNK_BYTES);
    if (this.#buffer.length < MIN_BUFFER_BYTES) throw new RangeError(`a NAR needs ${MIN_BUFFER_BYTES} bytes of buffer`);
    this.#withListing = options.withListing ?? false;
    this.#caseHack = options.caseHack ?? process.platform === 'darwin';
  }

  /** Bytes written so far; of the whole NAR once the iteration has ended. */
  get narSize(): number {
    return this.#yielded;
  }

  /** What the NAR holds; undefined before the iteration has ended, without `withListing`, and where there is too much. */
  get listing(): NarNode | undefined {
    return this.#state === 'done' ? this.#listing : undefined;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<Uint8Array, undefined> {
    if (this.#state === 'done') return { done: true, value: undefined };
    this.#at = 0;
    try {
      this.#fill();
    } catch (error) {
      this.#listing = undefined;
      this.return();
      throw error;
    }
    if (this.#at === 0) {
      this.#state = 'done';
      return { done: true, value: undefined };
    }
    this.#yielded += this.#at;
    return { done: false, value: this.#buffer.subarray(0, this.#at) };
  }

  return(): IteratorResult<Uint8Array, undefined> {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
    if (this.#state !== 'done') this.#listing = undefined;
    this.#state = 'done';
    return { done: true, value: undefined };
  }

  #fill(): void {
    if (this.#state === 'new') {
      this.#state = 'open';
      this.#put(MAGIC);
      this.#node(this.#root, kindOfFile(this.#root), undefined);
    }
    for (;;) {
      if (this.#file !== undefined && !this.#readOn()) return;
      if (this.#buffer.length - this.#at < NODE_ROOM) return;
      const level = this.#levels.at(-1);
      if (level === undefined) return;
      const file = level.files[level.next++];
      if (file === undefined) {
        this.#levels.pop();
        this.#close();
      } else {
        this.#put(ENTRY);
        this.#putText(file.name);
        this.#node(`${level.path}/${file.diskName}`, file.kind, file.name);
      }
    }
  }

  #node(path: string, kind: FileKind, name: string | undefined): void {
    if (kind === 'regular') this.#regular(path, name);
    else if (kind === 'directory') this.#directory(path, name);
    else if (kind === 'symlink') this.#symlink(path, name);
    else {
      const what = `${shown(path)} is a ${kind}; only files, directories and symlinks fit into one`;
      throw new NixcacheError('ERR_FORMAT', `write a NAR: ${what}`);
    }
  }

  #directory(path: string, name: string | undefined): void {
    const files = readEntries(path, this.#caseHack);
    const entries = new Map<string, NarNode>();
    this.#frame(DIRECTORY, name);
    this.#list(name, () => ({ type: 'directory', entries }));
    this.#levels.push({ path, files, next: 0, entries });
  }

  #symlink(path: string, name: string | undefined): void {
    const target = readTarget(path);
    if (target.length > MAX_TARGET_BYTES || target === '') {
      const what = `the target of ${shown(path)} has ${target.length} bytes, not 1 to ${MAX_TARGET_BYTES}`;
      throw new NixcacheError('ERR_FORMAT', `write a NAR: ${what}`);
    }
    this.#frame(SYMLINK, name);
    this.#putText(target);
    this.#list(name, () => ({ type: 'symlink', target: fileNameFromLatin1(target) }));
    this.#close();
  }

  #regular(path: string, name: string | undefined): void {
    const fd = attempt('open', path, () => openSync(toPath(path), OPEN_FLAGS));
    let keep = false;
    try {
      const stat = attempt('look at', path, () => fstatSync(fd));
      if (!stat.isFile()) throw changed(path, 'it was a file a moment ago');
      const { size, mtimeMs } = stat;
      const executable = (stat.mode & constants.S_IXUSR) !== 0;
      this.#frame(executable ? EXECUTABLE : REGULAR, name);
      this.#putSize(size);
      const narOffset = this.#yielded + this.#at;
      this.#list(name, () => ({ type: 'regular', size, executable, narOffset }));
      if (size + 1 + 7 + CLOSE_ENTRY.length <= this.#buffer.length - this.#at) {
        this.#readWhole(fd, path, size);
        this.#close();
      } else {
        this.#file = { fd, path, size, mtimeMs };
        this.#left = size;
        keep = true;
      }
    } finally {
      if (!keep) closeSync(fd);
    }
  }

  /** Reads a file that fits into the chunk; asks for one byte more, to see that there is none. */
  #readWhole(fd: number, path: string, size: number): void {
    let done = 0;
    let count: number;
    do {
      count = attempt('read', path, () => readSync(fd, this.#buffer, this.#at + done, size + 1 - done, null));
      done += count;
    } while (count > 0 && done < size);
    if (done !== size) throw changed(path, `it had ${size} bytes and now has ${done > size ? 'more' : done}`);
    this.#at += size;
    this.#pad(size);
  }

  /** Goes on with a large file; false when the chunk is full. */
  #readOn(): boolean {
    const file = this.#file;
    if (file === undefined) return true;
    const { fd, path, size } = file;
    while (this.#left > 0) {
      const room = Math.min(this.#left, this.#buffer.length - this.#at);
      if (room === 0) return false;
      const count = attempt('read', path, () => readSync(fd, this.#buffer, this.#at, room, null));
      if (count === 0) throw changed(path, `it had ${size} bytes and now has ${size - this.#left}`);
      this.#at += count;
      this.#left -= count;
    }
    if (this.#buffer.length - this.#at < 7 + CLOSE_ENTRY.length) return false;
    const stat = attempt('look at', path, () => fstatSync(fd));
    if (stat.size !== size || stat.mtimeMs !== file.mtimeMs) throw changed(path, 'it was written to');
    this.#file = undefined;
    closeSync(fd);
    this.#pad(size);
    this.#close();
    return true;
  }

  #list(name: string | undefined, make: () => NarNode): void {
    if (!this.#withListing) return;
    const node = make();
    const text = fileNameFromLatin1(name ?? '');
    if (!this.#budget.take(node.type === 'symlink' ? text + node.target : text)) {
      this.#withListing = false;
      this.#listing = undefined;
      for (const { entries } of this.#levels) entries.clear();
    } else if (name === undefined) this.#listing = node;
    else this.#levels.at(-1)?.entries.set(text, node);
  }

  /** Ends a node and the entry it stands in; the root stands in none. */
  #close(): void {
    this.#put(this.#levels.length > 0 ? CLOSE_ENTRY : CLOSE);
  }

  /** Starts a node; the root has no `node` in front. */
  #frame(frame: Buffer, name: string | undefined): void {
    this.#put(name === undefined ? frame.subarray(NODE_BYTES) : frame);
  }

  #put(bytes: Buffer): void {
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #putText(latin1: string): void {
    this.#putSize(latin1.length);
    this.#at += this.#buffer.write(latin1, this.#at, 'latin1');
    this.#pad(latin1.length);
  }

  #putSize(size: number): void {
    this.#buffer.writeUInt32LE(size % 2 ** 32, this.#at);
    this.#buffer.writeUInt32LE(Math.floor(size / 2 ** 32), this.#at + 4);
    this.#at += 8;
  }

  #pad(size: number): void {
    for (let left = paddingOf(size); left > 0; left--) this.#buffer[this.#at++] = 0;
  }
}

const changed = (path: string, what: string): NixcacheError =>
  new NixcacheError('ERR_NAR_MISMATCH', `write a NAR: ${shown(path)} changed while it was read: ${what}`);

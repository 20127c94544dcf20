/**
 * NAR parsing, a chunk at a time, in memory that does not grow with the NAR.
 *
 * As strict as Nix 2.35 (order of tags, zero padding, ascending names, lengths, 64 levels), and stricter in one thing:
 * bytes behind the archive, which every Nix lets pass though no hash covers them, are refused.
 * Source: NixOS/nix src/libutil/archive.cc (`parse`).
 */
import { NixcacheError } from '../errors.ts';
import { quoted } from '../nix/quoted.ts';
import { fileNameFromLatin1 } from './file-name.ts';
import { MAX_NAME_BYTES, MAX_NAR_DEPTH, MAX_TAG_BYTES, MAX_TARGET_BYTES, NAR_MAGIC, paddingOf } from './nar-token.ts';

/**
 * Paths are relative to the root, which is '', with names as in file-name.ts. After `regular` come its `contents`, in
 * pieces, none for an empty file. `leave` ends a directory.
 */
export type NarEvent =
  | { readonly type: 'directory'; readonly path: string }
  | { readonly type: 'leave'; readonly path: string }
  | {
      readonly type: 'regular';
      readonly path: string;
      readonly executable: boolean;
      /** Bytes of the contents. */
      readonly size: number;
      /** Where the contents start in the NAR. */
      readonly narOffset: number;
    }
  | {
      readonly type: 'contents';
      /** A view of the chunk that was pushed. */
      readonly bytes: Uint8Array;
    }
  | { readonly type: 'symlink'; readonly path: string; readonly target: string };

/** What is read next: a word of the format, or (last line) free text, raw bytes or nothing. */
type Word = 'magic' | '(' | 'type' | 'kind' | 'executable?' | 'contents tag' | 'target tag' | ')';
type EntryWord = 'entry?' | 'entry (' | 'name tag' | 'node tag' | 'entry )';
type Expect = Word | EntryWord | 'marker' | 'target' | 'name' | 'size' | 'contents' | 'padding' | 'end';

/** States that one word leads out of: the word, and what comes after it. */
const SEQUENCE: { readonly [E in Expect]?: readonly [word: string, next: Expect] } = {
  magic: [NAR_MAGIC, '('],
  '(': ['(', 'type'],
  type: ['type', 'kind'],
  'contents tag': ['contents', 'size'],
  'target tag': ['target', 'target'],
  'entry (': ['(', 'name tag'],
  'name tag': ['name', 'name'],
  'node tag': ['node', '('],
  'entry )': [')', 'entry?'],
};

const LONGEST: { readonly [E in Expect]?: number } = {
  magic: NAR_MAGIC.length,
  marker: 0,
  name: MAX_NAME_BYTES,
  target: MAX_TARGET_BYTES,
};

interface Level {
  readonly path: string;
  /** The name last read, as bytes. */
  lastName: string;
}

export class NarParser {
  readonly #levels: Level[] = [];
  #expect: Expect = 'magic';
  #path = '';
  #executable = false;
  #events: NarEvent[] = [];

  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  /** Bytes of all chunks before this one. */
  #before = 0;

  /** The beginning of something that the last chunk cut off. */
  readonly #carry = Buffer.alloc(MAX_TARGET_BYTES + 8);
  #carried = 0;
  /** What `#take` found, at which offset. */
  #found: Buffer = this.#carry;
  /** Length of the token whose header has been read. */
  #length: number | undefined;
  /** Where in the NAR the current token starts. */
  #start = 0;
  /** Bytes still to come of a file's contents, and then of its padding. */
  #left = 0;
  #padding = 0;

  /**
   * Parses `chunk`, which follows on those before, and returns what it held.
   *
   * @throws {NixcacheError} ERR_FORMAT naming the offset of what is wrong; the parser is of no use afterwards
   */
  push(chunk: Uint8Array): readonly NarEvent[] {
    this.#before += this.#chunk.length;
    this.#chunk = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#at = 0;
    this.#events = [];
    while (this.#step());
    return this.#events;
  }

  /** @throws {NixcacheError} ERR_FORMAT when the NAR is not complete */
  end(): void {
    if (this.#expect === 'end') return;
    throw corrupt(this.#before + this.#chunk.length, 'it ends too early');
  }

  /** Reads one token or piece of contents; false when the chunk is used up. */
  #step(): boolean {
    switch (this.#expect) {
      case 'end':
        if (this.#at < this.#chunk.length)
          throw corrupt(this.#before + this.#at, 'bytes follow the end of the archive');
        return false;
      case 'size':
        return this.#readSize();
      case 'contents':
        return this.#readContents();
      case 'padding': {
        const at = this.#take(this.#padding);
        if (at < 0) return false;
        this.#requireZeros(at, at + this.#padding);
        this.#start += this.#padding;
        this.#expect = ')';
        return true;
      }
      default: {
        const token = this.#readToken();
        if (token === undefined) return false;
        this.#accept(token);
        this.#start += 8 + token.length + paddingOf(token.length);
        return true;
      }
    }
  }

  #accept(token: string): void {
    const sequence = SEQUENCE[this.#expect];
    if (sequence !== undefined) {
      const [word, next] = sequence;
      if (token !== word) throw this.#unexpected(token, quoted(word));
      if (next === 'type' && this.#levels.length >= MAX_NAR_DEPTH) {
        throw this.#fault(`it is nested deeper than ${MAX_NAR_DEPTH} levels`);
      }
      this.#expect = next;
    } else if (this.#expect === 'kind') this.#acceptKind(token);
    else if (this.#expect === 'executable?') {
      if (token !== 'executable' && token !== 'contents') throw this.#unexpected(token, "'executable' or 'contents'");
      this.#executable = token === 'executable';
      this.#expect = this.#executable ? 'marker' : 'size';
    } else if (this.#expect === 'marker') this.#expect = 'contents tag';
    else if (this.#expect === 'target') {
      if (token === '' || token.includes('\0')) throw this.#fault('a symlink target is empty or has a NUL in it');
      this.#events.push({ type: 'symlink', path: this.#path, target: fileNameFromLatin1(token) });
      this.#expect = ')';
    } else if (this.#expect === ')') {
      if (token !== ')') throw this.#unexpected(token, "')'");
      this.#expect = this.#levels.length > 0 ? 'entry )' : 'end';
    } else if (this.#expect === 'entry?') {
      if (token === 'entry') this.#expect = 'entry (';
      else if (token === ')') this.#leave();
      else throw this.#unexpected(token, "'entry' or ')'");
    } else this.#acceptName(token);
  }

  #acceptKind(kind: string): void {
    if (kind === 'regular') this.#expect = 'executable?';
    else if (kind === 'symlink') this.#expect = 'target tag';
    else if (kind === 'directory') {
      this.#levels.push({ path: this.#path, lastName: '' });
      this.#events.push({ type: 'directory', path: this.#path });
      this.#expect = 'entry?';
    } else throw this.#unexpected(kind, 'a type of file');
  }

  #leave(): void {
    const level = this.#levels.pop();
    this.#events.push({ type: 'leave', path: level?.path ?? '' });
    this.#expect = this.#levels.length > 0 ? 'entry )' : 'end';
  }

  #acceptName(name: string): void {
    const level = this.#levels.at(-1);
    if (level === undefined) throw new Error('a name is only read inside a directory');
    const text = fileNameFromLatin1(name);
    if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
      throw this.#fault(`${quoted(text)} cannot name a file`);
    }
    if (name <= level.lastName) throw this.#fault(`${quoted(text)} stands behind a name that sorts after it`);
    level.lastName = name;
    this.#path = level.path === '' ? text : `${level.path}/${text}`;
    this.#expect = 'node tag';
  }

  #readSize(): boolean {
    const at = this.#take(8);
    if (at < 0) return false;
    const size = this.#number(at);
    if (!Number.isSafeInteger(size)) throw this.#fault('a file is larger than can be');
    this.#start += 8;
    this.#left = size;
    this.#padding = paddingOf(size);
    const narOffset = this.#start;
    this.#events.push({ type: 'regular', path: this.#path, executable: this.#executable, size, narOffset });
    this.#expect = size > 0 ? 'contents' : ')';
    return true;
  }

  #readContents(): boolean {
    const count = Math.min(this.#left, this.#chunk.length - this.#at);
    if (count === 0) return false;
    this.#events.push({ type: 'contents', bytes: this.#chunk.subarray(this.#at, this.#at + count) });
    this.#at += count;
    this.#start += count;
    this.#left -= count;
    if (this.#left === 0) this.#expect = this.#padding > 0 ? 'padding' : ')';
    return true;
  }

  /** One token, as bytes, once all of it is there. */
  #readToken(): string | undefined {
    if (this.#length === undefined) {
      const at = this.#take(8);
      if (at < 0) return undefined;
      const length = this.#number(at);
      const most = LONGEST[this.#expect] ?? MAX_TAG_BYTES;
      if (length > most)
        throw this.#fault(this.#expect === 'magic' ? NO_NAR : `a ${length} byte token, longer than ${most}`);
      this.#length = length;
    }
    const length = this.#length;
    const padded = length + paddingOf(length);
    const at = this.#take(padded);
    if (at < 0) return undefined;
    const token = this.#found.toString('latin1', at, at + length);
    this.#requireZeros(at + length, at + padded);
    this.#length = undefined;
    return token;
  }

  /** Where in `#found` the next `count` bytes are, in one piece, or -1 when they have not all come yet. */
  #take(count: number): number {
    const there = this.#chunk.length - this.#at;
    if (this.#carried === 0 && there >= count) {
      this.#found = this.#chunk;
      this.#at += count;
      return this.#at - count;
    }
    const more = Math.min(count - this.#carried, there);
    this.#chunk.copy(this.#carry, this.#carried, this.#at, this.#at + more);
    this.#carried += more;
    this.#at += more;
    if (this.#carried < count) return -1;
    this.#carried = 0;
    this.#found = this.#carry;
    return 0;
  }

  #number(at: number): number {
    return this.#found.readUInt32LE(at) + this.#found.readUInt32LE(at + 4) * 2 ** 32;
  }

  #requireZeros(from: number, to: number): void {
    for (let at = from; at < to; at++) {
      if (this.#found[at] !== 0) throw this.#fault('padding is not zero');
    }
  }

  #unexpected(token: string, wanted: string): NixcacheError {
    if (this.#expect === 'magic') return this.#fault(NO_NAR);
    return this.#fault(`${quoted(fileNameFromLatin1(token))} stands where ${wanted} belongs`);
  }

  #fault(what: string): NixcacheError {
    return corrupt(this.#start, what);
  }
}

const NO_NAR = `it does not start with '${NAR_MAGIC}'`;

const corrupt = (at: number, what: string): NixcacheError =>
  new NixcacheError('ERR_FORMAT', `NAR is corrupt at byte ${at}: ${what}`);

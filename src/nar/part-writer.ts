/**
 * Takes a compressed NAR as it is made: in memory while it is small, then in files of bounded size. It is hashed on the way,
 * and only parts after the first are hashed a second time: the first one's hash is the whole's as far as it goes.
 */
import { createHash, type Hash, randomUUID } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ownFileError } from '../io-error.ts';
import { hashFromBytes, type NixHash } from '../nix/hash.ts';
import { type Digest, digestFromHex } from '../oci/digest.ts';
import { PIECE_BYTES, PieceDigester, type PieceDigests } from '../streams/pieces.ts';

/** A finished file that holds all or a part of a compressed NAR. */
export interface NarPart {
  readonly file: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export interface WrittenNar {
  readonly fileHash: NixHash;
  readonly fileSize: number;
  /** The compressed NAR, or else the files that hold it, in order; the receiver removes them. */
  readonly bytes?: Uint8Array | undefined;
  readonly parts?: readonly NarPart[] | undefined;
  /** Digests of its pieces, where it is larger than one. */
  readonly pieces?: PieceDigests | undefined;
}

export interface PartLimits {
  /** Compressed NARs up to this many bytes are kept in memory. */
  readonly maxInlineBytes: number;
  /** A larger one is split into parts of this many bytes. */
  readonly partBytes: number;
}

/** Takes one compressed NAR, piece by piece. */
export interface NarSink {
  /** `chunk` is the caller's again when it returns. */
  write(chunk: Uint8Array): void;
  finish(): WrittenNar;
  /** Removes what was written. */
  discard(): void;
}

export interface PartWriterOptions extends PartLimits {
  readonly spoolDirectory: string;
}

interface OpenPart {
  readonly fd: number;
  readonly file: string;
  /** Undefined for the first part. */
  readonly hash: Hash | undefined;
  size: number;
}

export class PartWriter implements NarSink {
  readonly #options: PartWriterOptions;
  readonly #whole = createHash('sha256');
  readonly #pieces = new PieceDigester();
  #held: Uint8Array[] = [];
  #size = 0;
  #parts: NarPart[] = [];
  #open: OpenPart | undefined;

  constructor(options: PartWriterOptions) {
    this.#options = options;
  }

  write(chunk: Uint8Array): void {
    this.#size += chunk.length;
    if (this.#size <= this.#options.maxInlineBytes) {
      this.#held.push(Buffer.from(chunk));
      return;
    }
    for (const held of this.#held) this.#writeFile(held);
    this.#held = [];
    this.#writeFile(chunk);
  }

  finish(): WrittenNar {
    this.#closePart();
    const fileSize = this.#size;
    if (this.#parts.length > 0) {
      const pieces = fileSize > PIECE_BYTES ? this.#pieces.finish() : undefined;
      return { fileHash: hashFromBytes(this.#whole.digest()), fileSize, parts: this.#parts, pieces };
    }
    const bytes = Buffer.concat(this.#held);
    return { fileHash: hashFromBytes(this.#whole.update(bytes).digest()), fileSize, bytes };
  }

  discard(): void {
    if (this.#open) closeSync(this.#open.fd);
    for (const file of [this.#open?.file, ...this.#parts.map((part) => part.file)]) {
      if (file !== undefined) rmSync(file, { force: true });
    }
    this.#open = undefined;
    this.#parts = [];
  }

  #writeFile(chunk: Uint8Array): void {
    this.#attempt(() => {
      for (let at = 0; at < chunk.length; ) {
        const part = this.#open ?? this.#openPart();
        this.#open = part;
        const piece = chunk.subarray(at, at + this.#options.partBytes - part.size);
        for (let done = 0; done < piece.length; ) done += writeSync(part.fd, piece, done);
        this.#whole.update(piece);
        this.#pieces.update(piece);
        part.hash?.update(piece);
        part.size += piece.length;
        at += piece.length;
        if (part.size === this.#options.partBytes) this.#closePart();
      }
    });
  }

  #attempt(work: () => void): void {
    try {
      work();
    } catch (cause) {
      const where = this.#options.spoolDirectory;
      throw ownFileError('write a compressed NAR to', where, cause, 'put the cache or TMPDIR on another disk');
    }
  }

  #openPart(): OpenPart {
    const file = join(this.#options.spoolDirectory, `nar-${process.pid}-${randomUUID()}`);
    return {
      fd: openSync(file, 'wx', 0o644),
      file,
      hash: this.#parts.length > 0 ? createHash('sha256') : undefined,
      size: 0,
    };
  }

  #closePart(): void {
    if (!this.#open) return;
    const { fd, file, hash = this.#whole.copy(), size } = this.#open;
    this.#open = undefined;
    this.#parts.push({ file, digest: digestFromHex(hash.digest('hex')), size });
    this.#attempt(() => closeSync(fd)); // some file systems find out only then that they are full
  }
}

/**
 * What outlives a run beside the index: NARs, and short records. Behind it is a disk, which may be full, may damage what it
 * holds, and may be shared with other processes: none of its calls rejects but those that say so, and what cannot be kept is
 * not kept.
 */
import type { NixHash } from '../nix/hash.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import type { Pieces } from '../streams/pieces.ts';

/** What is known of a kept NAR beside its bytes. */
export interface KeptFacts {
  readonly pieces: Pieces;
  /** The NAR that it was seen to unpack to, where somebody looked. */
  readonly narHash?: NixHash | undefined;
  /** Whose it was: the id of an upstream; empty for what was the cache's own. */
  readonly source: string;
}

export interface KeptObject {
  readonly facts: KeptFacts;
  /** All of it was found right not long ago, and it was not changed since. Else every byte of it is in doubt. */
  readonly isSound: boolean;
  /** @throws what the disk says, also when it ends too soon */
  read(range: ByteRange): Promise<Buffer>;
  /** Fills `into` with what is at `position`. @throws as `read` */
  readInto(into: Buffer, position: number): Promise<void>;
  /** All of it was found right. */
  vouch(): void;
  close(): void;
}

/** Bytes that are on their way, and are had again by all who come later. */
export interface Spool {
  /** In turn. @throws what the disk says; what was appended before stays readable */
  append(chunk: Buffer): Promise<void>;
  /** Of what was appended, at least the first byte of `range`. @throws what the disk says */
  read(range: ByteRange): Promise<Buffer>;
  /** Its bytes are gone then, unless they are kept. */
  close(): void;
}

/** Where bytes wait that are not kept. */
export interface Spools {
  begin(): Spool;
}

/** What may become a kept object. */
export interface Draft extends Spool {
  /** From now on it is found under its name. False when that was not to be. */
  keep(facts: KeptFacts): Promise<boolean>;
}

export interface ObjectUsage {
  readonly bytes: number;
  readonly maxBytes: number;
}

export interface ObjectCache {
  /** Undefined when it is not there, or not readable. The caller closes it. */
  open(name: string): KeptObject | undefined;
  /** A place for an object of `size` bytes, as far as that is known; undefined when there is none. The caller closes it. */
  begin(name: string, size: number | undefined): Promise<Draft | undefined>;
  /** It is damaged, or wrong. */
  remove(name: string): Promise<void>;

  /** Undefined when it is not there, or damaged. */
  readRecord(name: string): Promise<string | undefined>;
  writeRecord(name: string, text: string): Promise<void>;
  removeRecord(name: string): Promise<void>;

  usage(): ObjectUsage;
}

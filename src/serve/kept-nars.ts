/**
 * NARs that are kept on disk from one request, and one run, to the next. What is read back is in doubt until all of a file was
 * found right: each piece is checked before it is handed on, and what is damaged is fetched from where it came from.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { NixcacheError } from '../errors.ts';
import { hashToBase32, type NixHash } from '../nix/hash.ts';
import { encode } from '../nix/nixbase32.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import { PieceDigester, readPieces } from '../streams/pieces.ts';
import { ReadoutStream } from '../streams/readout-stream.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { OpenOptions } from './answer.ts';
import type { Draft, KeptFacts, KeptObject, ObjectCache } from './object-cache.ts';
import type { Nar, OpenNar, UpstreamNar } from './open-nar.ts';
import type { Counters, ServeEvent } from './serve-options.ts';
import type { Slots } from './slots.ts';
import { fileHashIn } from './upstream-nars.ts';

export interface KeptNarsOptions {
  readonly objects: ObjectCache;
  readonly upstreams: readonly Upstream[];
  /** As for VerifiedNars: gives ranges unchecked. */
  readonly open: OpenNar;
  readonly counters: Counters;
  readonly onEvent: (event: ServeEvent) => void;
  /** For all NARs that are open. */
  readonly slots: Slots;
}

/** Read at once. */
const SMALL_BYTES = 8 * 1024;
/** 16 MiB, 15 ms: checked as a whole before the first byte goes out, and larger ones on their way. */
const CHECKED_FIRST_BYTES = 16 * 1024 * 1024;
const ROOM_BYTES = 256 * 1024;

export class KeptNars {
  readonly #options: KeptNarsOptions;

  constructor(options: KeptNarsOptions) {
    this.#options = options;
  }

  /** Whether a file is kept, wherever it came from. */
  has(fileHash: NixHash): boolean {
    const kept = this.#options.objects.open(hashToBase32(fileHash));
    kept?.close();
    return kept !== undefined;
  }

  /** What is kept under the URL `url` of a NAR that one of the upstreams gave; undefined when there is none. */
  find(url: string): UpstreamNar | undefined {
    const fileHash = fileHashIn(url);
    if (fileHash === undefined) return undefined;
    const kept = this.#options.objects.open(hashToBase32(fileHash));
    kept?.close();
    // The cache's own are looked for in its index: what is there no more is not given out by its name alone.
    const upstream = this.#options.upstreams.find(({ id }) => id === kept?.facts.source);
    return kept && upstream && { upstream, url, ours: url, size: kept.facts.pieces.size, fileHash };
  }

  /** `nar` as it is kept, its size included; undefined when it is not. */
  settle(nar: UpstreamNar): UpstreamNar | undefined {
    const kept = this.#find(nar);
    kept?.close();
    return kept && { ...nar, size: kept.facts.pieces.size };
  }

  /** `nar` or a range of it, as VerifiedNars gives it; undefined when it is not kept. */
  async open(nar: Nar, options: OpenOptions): Promise<Readable | Buffer | undefined> {
    const release = await this.#options.slots.take(options);
    const kept = this.#find(nar);
    try {
      const opened = kept && (await this.#open(kept, nar, options));
      if (opened === undefined || Buffer.isBuffer(opened)) {
        kept?.close();
        release();
      } else {
        opened.once('close', () => {
          kept?.close();
          release();
        });
      }
      if (opened !== undefined) this.#options.counters.narDiskHits += 1;
      return opened;
    } catch (error) {
      kept?.close();
      release();
      options.signal.throwIfAborted();
      await this.#remove(nar, error);
      return undefined;
    }
  }

  /** A place for `nar`, and what is known of it once it is there. */
  begin(nar: Nar): Promise<Draft | undefined> {
    return this.#options.objects.begin(nameOf(nar), nar.size);
  }

  #find(nar: Nar): KeptObject | undefined {
    const kept = this.#options.objects.open(nameOf(nar));
    if (kept !== undefined && isOf(nar, kept.facts)) return kept;
    kept?.close();
    return undefined;
  }

  async #open(kept: KeptObject, nar: Nar, { range, signal, via }: OpenOptions): Promise<Readable | Buffer> {
    const { pieces } = kept.facts;
    const wanted = range ?? { offset: 0, length: pieces.size };
    if (!kept.isSound && pieces.size <= CHECKED_FIRST_BYTES) {
      await check(kept, signal);
      kept.vouch();
    }
    if (kept.isSound || pieces.size <= CHECKED_FIRST_BYTES) {
      return wanted.length <= SMALL_BYTES ? await kept.read(wanted) : streamOf(kept, wanted);
    }
    let opened = 0;
    const open = async (part: ByteRange): Promise<Readable> => {
      opened += 1;
      if (opened === 1) return streamOf(kept, part);
      // The rest comes from where all of it came from. From the beginning, so does the whole, and is kept again.
      if (part.offset === wanted.offset - (wanted.offset % pieces.pieceBytes))
        throw new Error('its beginning is damaged');
      if (opened === 2) await this.#remove(nar, new Error(`it is damaged behind byte ${part.offset}`));
      return await this.#options.open(nar, { signal, via, range: part });
    };
    const stream = await readPieces({ pieces, range: wanted, open, what: nameOf(nar) });
    return stream.once('end', () => {
      if (opened === 1 && wanted.length === pieces.size) kept.vouch();
    });
  }

  async #remove(nar: Nar, error: unknown): Promise<void> {
    const { objects, onEvent } = this.#options;
    await objects.remove(nameOf(nar));
    onEvent({ type: 'kept-damaged', name: nameOf(nar), error: error instanceof Error ? error.message : String(error) });
  }
}

/** Learns what has to be known of `nar` once it is kept, from its bytes as they come. */
export class KeptFactsOf {
  readonly #nar: Nar;
  readonly #digester: PieceDigester | undefined;

  constructor(nar: Nar) {
    this.#nar = nar;
    if (nar.pieces === undefined) this.#digester = new PieceDigester();
  }

  update(chunk: Buffer): void {
    this.#digester?.update(chunk);
  }

  finish(): KeptFacts {
    const nar = this.#nar;
    const pieces = nar.pieces ?? (this.#digester as PieceDigester).finish();
    if ('entry' in nar) return { pieces, source: '' };
    return { pieces, narHash: nar.unpacked?.narHash, source: nar.upstream.id };
  }
}

/** Whether `facts` are of the file that `nar` names, and of one that holds the NAR it is said to hold. */
function isOf(nar: Nar, { pieces, narHash }: KeptFacts): boolean {
  if (nar.size !== undefined && nar.size !== pieces.size) return false;
  return 'entry' in nar || nar.unpacked === undefined || nar.unpacked.narHash === narHash;
}

/** Its file hash; of a NAR of which nobody says that, a hash of our URL, which says what it has to unpack to. */
export function nameOf(nar: Nar): string {
  if ('entry' in nar) return hashToBase32(nar.entry.narInfo.fileHash);
  if (nar.fileHash !== undefined) return hashToBase32(nar.fileHash);
  return `u-${encode(createHash('sha256').update(`${nar.upstream.id} ${nar.ours}`).digest())}`;
}

const streamOf = (kept: KeptObject, { offset, length }: ByteRange): Readable =>
  new ReadoutStream({ length, read: (into, position) => kept.readInto(into, offset + position) });

/** Room that is used again, so that checking makes nothing to be collected. */
const spareRooms: Buffer[] = [];
const MAX_SPARE_ROOMS = 16;

/** Reads all of `kept`. @throws {NixcacheError} ERR_DIGEST_MISMATCH; what the disk says */
async function check(kept: KeptObject, signal: AbortSignal): Promise<void> {
  const { pieces } = kept.facts;
  const room = spareRooms.pop() ?? Buffer.allocUnsafeSlow(ROOM_BYTES);
  try {
    const digester = new PieceDigester(pieces.pieceBytes);
    for (let at = 0; at < pieces.size; at += ROOM_BYTES) {
      signal.throwIfAborted();
      const part = room.subarray(0, Math.min(ROOM_BYTES, pieces.size - at));
      await kept.readInto(part, at);
      digester.update(part);
    }
    if (Buffer.from(digester.finish().digests).equals(pieces.digests)) return;
    throw new NixcacheError('ERR_DIGEST_MISMATCH', 'it is damaged');
  } finally {
    if (spareRooms.length < MAX_SPARE_ROOMS) spareRooms.push(room);
  }
}

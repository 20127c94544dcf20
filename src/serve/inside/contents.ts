/**
 * What is in NARs, for people and programs that look into them. A NAR is read whole once, and compared with the hash that its
 * narinfo gives and a publisher signed, before a byte of any file goes out; from then on each piece of it is checked by itself,
 * so that a file is had by reading up to its end. What was learned is kept for a while, and made once for all who wait for it.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { withDeadline } from '../../call-options.ts';
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { canDecompress } from '../../nar/decompress.ts';
import { toolAdvice } from '../../nar/tools.ts';
import { SharedWork } from '../../shared-work.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { readPieces } from '../../streams/pieces.ts';
import type { AskOptions, OpenOptions } from '../answer.ts';
import { Slots } from '../slots.ts';
import { takeInTime } from './busy.ts';
import { type AnswerNar, openUnpacked, type PackedNar } from './nar-bytes.ts';
import { EntranceFinder, entranceTo, type Survey, surveyNar } from './survey.ts';

export interface ContentsOptions {
  readonly answerNar: AnswerNar;
  readonly limits?: Partial<InsideLimits> | undefined;
}

export interface InsideLimits {
  /** NARs that are read whole at once; others wait. */
  readonly surveys: number;
  /** Files that are sent at once out of NARs that are not kept in memory. */
  readonly readers: number;
  /** For a turn. */
  readonly waitMs: number;
  /** For a NAR to be read whole. */
  readonly surveyMs: number;
  /** Of a NAR, unpacked; larger ones are not looked into. */
  readonly narBytes: number;
  /** Files, directories and links in one NAR; those with more are looked into only where a listing was published. */
  readonly nodes: number;
  /** Of a NAR, unpacked, which is kept in memory as a whole. */
  readonly smallNarBytes: number;
  /** For what is kept in memory of all NARs. */
  readonly keptBytes: number;
}

const LIMITS: InsideLimits = {
  surveys: 4, //         each up to 60 MB, and a process for xz
  readers: 32,
  waitMs: 30_000,
  surveyMs: 600_000, //  10 minutes: 64 GiB at 100 MB/s, which is as fast as xz unpacks
  narBytes: 64 * 1024 ** 3,
  nodes: 250_000, //     ten times a package with many, and some 60 MB
  smallNarBytes: 4 * 1024 ** 2, // most packages: page after page of them costs nothing
  keptBytes: 128 * 1024 ** 2,
};

/** Ten minutes, as for what is withheld elsewhere: it may be mended by then. */
const FAULT_TTL_MS = 600_000;
const MAX_FAULTS = 4096;

export class Contents {
  readonly #answerNar: AnswerNar;
  readonly #limits: InsideLimits;
  readonly #surveys: Slots;
  readonly #readers: Slots;
  readonly #known: LRUCache<string, Survey>;
  readonly #faults = new LRUCache<string, NixcacheError>({ max: MAX_FAULTS, ttl: FAULT_TTL_MS });
  readonly #running = new Map<string, SharedWork<Survey>>();

  constructor({ answerNar, limits }: ContentsOptions) {
    this.#answerNar = answerNar;
    this.#limits = { ...LIMITS, ...limits };
    this.#surveys = new Slots(this.#limits.surveys);
    this.#readers = new Slots(this.#limits.readers);
    const { keptBytes: maxSize } = this.#limits;
    // The heaviest are kept as well, one at a time: they would else be read anew for each request.
    this.#known = new LRUCache({ maxSize, sizeCalculation: ({ weight }) => Math.min(weight, maxSize) });
  }

  /** What is known of `nar` without reading it. */
  known(nar: PackedNar): Survey | undefined {
    return this.#known.get(nar.narHash);
  }

  /** Whether `nar` is had at once, and whole. */
  isSmall({ narSize }: Pick<PackedNar, 'narSize'>): boolean {
    return narSize <= this.#limits.smallNarBytes;
  }

  /** Forgets what was found wrong: it may be mended. */
  clear(): void {
    this.#faults.clear();
  }

  /**
   * What is in `nar`, read whole unless that was done before.
   *
   * @throws {NixcacheError} ERR_DIGEST_MISMATCH, ERR_FORMAT when it is not what it should be; ERR_UNSUPPORTED when it is too
   * large, or packed in a way that is not known here; BusyError; and what opening it throws
   */
  async survey(nar: PackedNar, { signal, via }: AskOptions): Promise<Survey> {
    const known = this.known(nar);
    if (known !== undefined) return known;
    const fault = this.#faults.get(nar.narHash);
    if (fault !== undefined) throw fault;
    // Servers that ask each other would else wait for each other.
    const key = `${nar.narHash} ${via}`;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = new SharedWork((signal) => this.#survey(nar, { signal, via }).finally(() => this.#running.delete(key)));
      this.#running.set(key, running);
    }
    return await running.join({ signal });
  }

  /** `range` of what `nar` unpacks to, each piece only once it was found right. @throws {NixcacheError} as `survey` */
  async open(nar: PackedNar, survey: Survey, range: ByteRange, options: OpenOptions): Promise<Readable | Buffer> {
    const { offset, length } = range;
    if (length === 0) return Buffer.alloc(0);
    if (survey.bytes !== undefined) return survey.bytes.subarray(offset, offset + length);
    let opened = 0;
    const openPart = (part: ByteRange): Promise<Readable> => {
      opened += 1;
      // What was wrong from there is tried from its beginning.
      const entrance = opened === 1 ? entranceTo(survey, nar, part.offset) : undefined;
      return openUnpacked(nar, part, this.#answerNar, { ...options, entrance });
    };
    return await this.#inTurn(options, () =>
      readPieces({ pieces: survey.pieces, range, open: openPart, what: nar.path }),
    );
  }

  /**
   * The same of a NAR that was not read whole. To be asked for only where each byte of its file is checked as it comes.
   *
   * @throws {NixcacheError} as `survey`
   */
  async openUnread(nar: PackedNar, range: ByteRange, options: OpenOptions): Promise<Readable | Buffer> {
    if (range.length === 0) return Buffer.alloc(0);
    return await this.#inTurn(options, () => openUnpacked(nar, range, this.#answerNar, options));
  }

  /** What `open` gives, one of so many at once. */
  async #inTurn(options: OpenOptions, open: () => Promise<Readable>): Promise<Readable> {
    const release = await takeInTime(this.#readers, this.#limits.waitMs, options);
    try {
      return (await open()).once('close', release);
    } catch (error) {
      release();
      throw error;
    }
  }

  async #survey(nar: PackedNar, { signal, via }: OpenOptions): Promise<Survey> {
    const { narBytes, waitMs, surveyMs } = this.#limits;
    const { narHash, narSize, compression, path } = nar;
    if (narSize > narBytes) {
      throw new NixcacheError('ERR_UNSUPPORTED', `${path} has ${narSize} bytes, more than are looked into`);
    }
    if (!(await canDecompress(compression))) {
      const what = `${path} is compressed with ${compression}, which cannot be looked into here${toolAdvice(compression)}`;
      throw new NixcacheError('ERR_UNSUPPORTED', what);
    }
    const release = await takeInTime(this.#surveys, waitMs, { signal });
    try {
      const expired = (): Error => new NixcacheError('ERR_UNSUPPORTED', `${path} was not read within ${surveyMs} ms`);
      const survey = await withDeadline(surveyMs, expired, signal, (signal) => this.#read(nar, { signal, via }));
      this.#known.set(narHash, survey);
      return survey;
    } catch (error) {
      if (isNixcacheError(error, 'ERR_DIGEST_MISMATCH', 'ERR_FORMAT', 'ERR_UNSUPPORTED') && !signal.aborted) {
        this.#faults.set(narHash, error);
      }
      throw error;
    } finally {
      release();
    }
  }

  async #read(nar: PackedNar, options: OpenOptions): Promise<Survey> {
    const { signal } = options;
    const entrances = new EntranceFinder();
    const stream = await openUnpacked(nar, undefined, this.#answerNar, { ...options, onFrame: entrances.add });
    const stop = (): void => void stream.destroy();
    signal.addEventListener('abort', stop, { once: true });
    try {
      signal.throwIfAborted();
      return await surveyNar(stream, nar, {
        maxNodes: this.#limits.nodes,
        keeps: this.isSmall(nar),
        entrances: entrances.found,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      stream.destroy();
    }
  }
}

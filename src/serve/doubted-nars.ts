/**
 * What becomes of a NAR that its upstream announced and was seen not to have: another upstream has the very file, or that
 * upstream's own is the NAR all the same, and only what nobody signs was wrong of it. That is known once all of it was read,
 * and what was read is then all that is given out.
 */
import { createHash } from 'node:crypto';
import { isNixcacheError } from '../errors.ts';
import { canDecompress } from '../nar/decompress.ts';
import { hashFromBytes } from '../nix/hash.ts';
import { SharedWork } from '../shared-work.ts';
import { PieceDigester } from '../streams/pieces.ts';
import type { OpenOptions } from './answer.ts';
import { BrokenNarError } from './broken-nar.ts';
import type { UpstreamNar } from './open-nar.ts';
import type { UpstreamNarOpener } from './open-upstream-nar.ts';
import { Slots } from './slots.ts';
import type { UpstreamNars } from './upstream-nars.ts';

export interface DoubtedNarsOptions {
  readonly opener: Pick<UpstreamNarOpener, 'open' | 'locate'>;
  readonly upstreamNars: Pick<UpstreamNars, 'isWrong' | 'remember' | 'distrust' | 'clearOf'>;
  /** NARs that are read at once. */
  readonly maxOpen?: number | undefined;
}

export class DoubtedNars {
  readonly #options: DoubtedNarsOptions;
  readonly #slots: Slots;
  readonly #running = new Map<string, SharedWork<UpstreamNar | undefined>>();

  constructor(options: DoubtedNarsOptions) {
    this.#options = options;
    this.#slots = new Slots(options.maxOpen ?? Number.POSITIVE_INFINITY);
  }

  /** The NAR that `nar` names, as it is to be had; undefined when it is not, or nobody can tell. */
  settle(nar: UpstreamNar, { signal, via }: OpenOptions): Promise<UpstreamNar | undefined> {
    const key = `${nar.upstream.id} ${nar.ours} ${via}`;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = new SharedWork((signal) => this.#settle(nar, { signal, via }).finally(() => this.#running.delete(key)));
      this.#running.set(key, running);
    }
    return running.join({ signal });
  }

  async #settle(nar: UpstreamNar, options: OpenOptions): Promise<UpstreamNar | undefined> {
    const { opener, upstreamNars } = this.#options;
    const settled = (await opener.locate(nar, options)) ?? (nar.unpacked && (await this.read(nar, options)));
    if (settled !== undefined) upstreamNars.remember(settled);
    return settled;
  }

  /** Reads all that the upstream has there, by what it unpacks to alone; undefined when it is not the NAR, or not to be had. */
  async read(nar: UpstreamNar, options: OpenOptions): Promise<UpstreamNar | undefined> {
    const { opener, upstreamNars } = this.#options;
    const { unpacked, narHash } = nar;
    const fileHash = unpacked === undefined ? narHash : undefined;
    const unsure: UpstreamNar = { ...nar, fileHash, size: undefined, pieces: undefined };
    if (upstreamNars.isWrong(unsure)) return undefined;
    if (unpacked === undefined ? fileHash === undefined : !(await canDecompress(unpacked.compression)))
      return undefined;
    const release = await this.#slots.take(options);
    try {
      const source = await opener.open(unsure, { ...options, isAlone: true });
      const [digester, hash] = [new PieceDigester(), createHash('sha256')];
      for await (const chunk of source as AsyncIterable<Buffer>) {
        digester.update(chunk);
        hash.update(chunk);
      }
      const pieces = digester.finish();
      const read = { ...unsure, fileHash: hashFromBytes(hash.digest()), size: pieces.size, pieces };
      upstreamNars.clearOf(read);
      return read;
    } catch (error) {
      options.signal.throwIfAborted();
      if (error instanceof BrokenNarError || isNixcacheError(error, 'ERR_DIGEST_MISMATCH')) {
        upstreamNars.distrust(unsure, error);
      }
      return undefined;
    } finally {
      release();
    }
  }
}

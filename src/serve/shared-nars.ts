/** Opens NARs: from what is kept, else out of a download that others may be reading as well, else by a new one. */
import type { Readable } from 'node:stream';
import { PIECE_BYTES } from '../streams/pieces.ts';
import type { OpenOptions } from './answer.ts';
import { Download, UnkeptError } from './download.ts';
import { KeptFactsOf, type KeptNars, nameOf } from './kept-nars.ts';
import type { Draft } from './object-cache.ts';
import type { Nar } from './open-nar.ts';
import type { VerifiedNars } from './verified-nars.ts';

export interface SharedNarsOptions {
  readonly kept: KeptNars | undefined;
  readonly verified: Pick<VerifiedNars, 'open'>;
}

/** A range that begins so far ahead of what has come is asked for by itself, where it can be checked by itself. */
const AHEAD_BYTES = 8 * 1024 * 1024;

export class SharedNars {
  readonly #options: SharedNarsOptions;
  readonly #running = new Map<string, Download<Draft>>();

  constructor(options: SharedNarsOptions) {
    this.#options = options;
  }

  /** As VerifiedNars. */
  async open(nar: Nar, options: OpenOptions): Promise<Readable | Buffer> {
    const { kept, verified } = this.#options;
    if (kept === undefined) return await verified.open(nar, options);
    const found = await kept.open(nar, options);
    if (found !== undefined) return found;
    const { range, signal, via } = options;
    const isChecked = nar.pieces !== undefined || (nar.size !== undefined && nar.size <= PIECE_BYTES);
    // Servers that ask each other would else wait for each other.
    const key = `${nameOf(nar)} ${('entry' in nar ? undefined : nar.unpacked?.narHash) ?? ''} ${via ?? ''}`;
    const running = this.#running.get(key);
    const download = running?.isJoinable ? running : undefined;
    const isFarAhead = range !== undefined && range.offset > (download?.receivedBytes ?? 0) + AHEAD_BYTES;
    if (isChecked && (isFarAhead || (range !== undefined && download === undefined))) {
      return await verified.open(nar, options);
    }
    try {
      return await (download ?? this.#start(nar, key, kept, via)).join({ range, isChecked, signal });
    } catch (error) {
      if (!(error instanceof UnkeptError)) throw error;
      return await verified.open(nar, options);
    }
  }

  #start(nar: Nar, key: string, kept: KeptNars, via: string | undefined): Download<Draft> {
    const facts = new KeptFactsOf(nar);
    const download: Download<Draft> = new Download<Draft>({
      open: (signal) => this.#options.verified.open(nar, { signal, via }),
      begin: () => kept.begin(nar),
      onChunk: (chunk) => facts.update(chunk),
      onWhole: (draft) => draft.keep(facts.finish()),
      onOver: () => {
        if (this.#running.get(key) === download) this.#running.delete(key);
      },
    });
    this.#running.set(key, download);
    return download;
  }
}

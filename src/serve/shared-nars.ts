/** Opens NARs: from what is kept, else out of a download that others may be reading as well, else by a new one. */
import type { Readable } from 'node:stream';
import { PIECE_BYTES } from '../streams/pieces.ts';
import type { OpenOptions } from './answer.ts';
import { Download, UnkeptError } from './download.ts';
import { KeptFactsOf, type KeptNars, nameOf } from './kept-nars.ts';
import type { Draft, Spool, Spools } from './object-cache.ts';
import type { Nar } from './open-nar.ts';
import type { VerifiedNars } from './verified-nars.ts';

export interface SharedNarsOptions {
  readonly kept: KeptNars | undefined;
  readonly verified: Pick<VerifiedNars, 'open'>;
  /** For what is not kept; without, only what is kept is shared. */
  readonly spools: Spools | undefined;
  /** Whether the cache's own NARs are read from a disk of this machine. */
  readonly isNear: boolean;
}

/** A range that begins so far ahead of what has come is asked for by itself, where it can be checked by itself. */
const FAR_AHEAD_BYTES = 8 * 1024 * 1024;
/** What is not kept is not fetched much sooner than somebody takes it. */
const AHEAD_BYTES = 4 * 1024 * 1024;

export class SharedNars {
  readonly #options: SharedNarsOptions;
  readonly #running = new Map<string, Download<Draft | Spool>>();

  constructor(options: SharedNarsOptions) {
    this.#options = options;
  }

  /** As VerifiedNars. */
  async open(nar: Nar, options: OpenOptions): Promise<Readable | Buffer> {
    const { kept, verified, spools, isNear } = this.#options;
    const isShared = kept !== undefined || (spools !== undefined && !(isNear && 'entry' in nar));
    if (!isShared) return await verified.open(nar, options);
    const found = await kept?.open(nar, options);
    if (found !== undefined) return found;
    const { range, signal, via } = options;
    const isChecked = nar.pieces !== undefined || (nar.size !== undefined && nar.size <= PIECE_BYTES);
    // Servers that ask each other would else wait for each other.
    const key = `${nameOf(nar)} ${saidOf(nar)} ${via ?? ''}`;
    const running = this.#running.get(key);
    const download = running?.isJoinable ? running : undefined;
    const isFarAhead = range !== undefined && range.offset > (download?.receivedBytes ?? 0) + FAR_AHEAD_BYTES;
    if (isChecked && (isFarAhead || (range !== undefined && download === undefined))) {
      return await verified.open(nar, options);
    }
    try {
      return await (download ?? this.#start(nar, key, via)).join({ range, isChecked, signal });
    } catch (error) {
      if (!(error instanceof UnkeptError)) throw error;
      return await verified.open(nar, options);
    }
  }

  #start(nar: Nar, key: string, via: string | undefined): Download<Draft | Spool> {
    const { kept, verified, spools } = this.#options;
    const facts = kept && new KeptFactsOf(nar);
    const download: Download<Draft | Spool> = new Download<Draft | Spool>({
      open: (signal) => verified.open(nar, { signal, via }),
      begin: async () => (await kept?.begin(nar)) ?? spools?.begin(),
      aheadBytes: (spool) => ('keep' in spool ? Number.POSITIVE_INFINITY : AHEAD_BYTES),
      onChunk: (chunk) => facts?.update(chunk),
      onWhole: async (spool) => void (facts && 'keep' in spool && (await spool.keep(facts.finish()))),
      onOver: () => {
        if (this.#running.get(key) === download) this.#running.delete(key);
      },
    });
    this.#running.set(key, download);
    return download;
  }
}

/** Who is told the same of it: for what one was told wrong, another's is not lost. */
const saidOf = (nar: Nar): string =>
  'entry' in nar ? '' : `${nar.upstream.id} ${nar.url} ${nar.narHash} ${nar.unpacked?.compression} ${nar.size}`;

/** Reads a NAR once to its end: what is in it, and the digests by which any part of it can be checked from then on. */
import { createHash } from 'node:crypto';
import { NixcacheError } from '../../errors.ts';
import type { NarNode } from '../../nar/nar-listing.ts';
import { type NarEvent, NarParser } from '../../nar/nar-parser.ts';
import { NarLister } from '../../nar/nar-reader.ts';
import { hashFromBytes } from '../../nix/hash.ts';
import { PIECE_BYTES, PieceDigester, type Pieces } from '../../streams/pieces.ts';
import { looksLikeText, SAMPLE_BYTES } from './content-type.ts';
import type { Entrance, PackedNar } from './nar-bytes.ts';

export interface Survey {
  /** Undefined where it has more files than are held at once. */
  readonly root: NarNode | undefined;
  /** Of the NAR as it is unpacked. */
  readonly pieces: Pieces;
  /** `narOffset`s of the files that look like text. */
  readonly texts: ReadonlySet<number>;
  /** Where unpacking may begin, in order, of the file at `url`. */
  readonly entrances: { readonly url: string; readonly list: readonly Entrance[] };
  /** All of it, of a small one. */
  readonly bytes: Buffer | undefined;
  /** What it takes up in memory, about. */
  readonly weight: number;
}

export interface SurveyOptions {
  /** Of a NAR with more no tree is made. */
  readonly maxNodes: number;
  /** Whether all of its bytes are kept. */
  readonly keeps: boolean;
  /** Known at the end. */
  readonly entrances: readonly Entrance[];
}

/**
 * Looks through the NAR that `source` unpacks to.
 *
 * @throws {NixcacheError} ERR_FORMAT when it is none; ERR_DIGEST_MISMATCH when it is not the one of `narInfo`; and what `source` throws
 */
export async function surveyNar(
  source: AsyncIterable<Uint8Array>,
  { narHash, narSize, path, url }: PackedNar,
  { maxNodes, keeps, entrances }: SurveyOptions,
): Promise<Survey> {
  const [parser, lister, texts] = [new NarParser(), new NarLister({ maxNodes }), new TextFinder(maxNodes)];
  const [hash, digester] = [createHash('sha256'), new PieceDigester()];
  const kept: Uint8Array[] = [];
  for await (const chunk of source) {
    hash.update(chunk);
    digester.update(chunk);
    if (keeps) kept.push(chunk);
    const events = parser.push(chunk);
    lister.add(events);
    texts.add(events);
  }
  parser.end();
  const pieces = digester.finish();
  const found = hashFromBytes(hash.digest());
  if (found !== narHash || pieces.size !== narSize) {
    const what = `a NAR of ${pieces.size} bytes with the hash ${found}, not of ${narSize} with ${narHash}`;
    throw new NixcacheError('ERR_DIGEST_MISMATCH', `what is there of ${path} is ${what}`);
  }
  const bytes = keeps ? Buffer.concat(kept) : undefined;
  const weight = lister.weight + pieces.digests.length + (bytes?.length ?? 0) + entrances.length * 32 + 1000;
  return { root: lister.root(), pieces, texts: texts.found, entrances: { url, list: entrances }, bytes, weight };
}

/** Tells by the beginning of each file whether it looks like text. */
class TextFinder {
  readonly found = new Set<number>();
  readonly #max: number;
  #sample: Uint8Array[] = [];
  #lacking = 0;
  #at = 0;

  constructor(max: number) {
    this.#max = max;
  }

  add(events: readonly NarEvent[]): void {
    for (const event of events) {
      if (event.type === 'regular') {
        this.#at = event.narOffset;
        this.#sample = [];
        this.#lacking = Math.min(event.size, SAMPLE_BYTES);
      } else if (event.type === 'contents' && this.#lacking > 0) {
        const part = event.bytes.subarray(0, this.#lacking);
        this.#sample.push(part);
        this.#lacking -= part.length;
        if (this.#lacking === 0 && this.found.size < this.#max && looksLikeText(Buffer.concat(this.#sample))) {
          this.found.add(this.#at);
        }
      }
    }
  }
}

/** Notes where frames begin, one in each mebibyte at the most. */
export class EntranceFinder {
  readonly found: Entrance[] = [];

  readonly add = (packed: number, unpacked: number): void => {
    if (unpacked - (this.found.at(-1)?.unpacked ?? 0) >= PIECE_BYTES) this.found.push({ packed, unpacked });
  };
}

/** The last of `survey`'s entrances to the file at `url` that is not behind `offset`. */
export function entranceTo(
  { entrances: { url, list } }: Survey,
  nar: Pick<PackedNar, 'url'>,
  offset: number,
): Entrance | undefined {
  return url === nar.url ? list.findLast(({ unpacked }) => unpacked <= offset) : undefined;
}

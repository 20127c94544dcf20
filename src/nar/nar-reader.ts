/** Reading a NAR from a stream for its hash and its listing. The parser itself is nar-parser.ts. */
import { createHash } from 'node:crypto';
import { hashFromBytes, type NixHash } from '../nix/hash.ts';
import { ListingBudget, type NarNode } from './nar-listing.ts';
import { type NarEvent, NarParser } from './nar-parser.ts';

export interface NarSummary {
  readonly narHash: NixHash;
  readonly narSize: number;
  /** Only where it was asked for, and not of more files than a listing may have. */
  readonly listing?: NarNode | undefined;
}

/**
 * Reads the NAR in `source` to its end, checks that it is one, and says what Nix's database would say about it.
 *
 * @throws {NixcacheError} ERR_FORMAT naming the offset; and whatever `source` throws
 */
export async function verifyNar(
  source: AsyncIterable<Uint8Array>,
  options: { readonly withListing?: boolean } = {},
): Promise<NarSummary> {
  const parser = new NarParser();
  const lister = options.withListing ? new NarLister() : undefined;
  const hash = createHash('sha256');
  let narSize = 0;
  for await (const chunk of source) {
    hash.update(chunk);
    narSize += chunk.length;
    const events = parser.push(chunk);
    lister?.add(events);
  }
  parser.end();
  const narHash = hashFromBytes(hash.digest());
  return lister === undefined ? { narHash, narSize } : { narHash, narSize, listing: lister.root() };
}

/** Makes a listing of a parser's events. */
export class NarLister {
  readonly #budget: ListingBudget;
  readonly #open: Map<string, NarNode>[] = [];
  #root: NarNode | undefined;
  #isTooLong = false;

  /** @param maxNodes default: as many as a listing may have */
  constructor({ maxNodes }: { readonly maxNodes?: number } = {}) {
    this.#budget = new ListingBudget(maxNodes);
  }

  /** Bytes of memory that what is held takes up, about. */
  get weight(): number {
    return this.#isTooLong ? 0 : this.#budget.weight;
  }

  add(events: readonly NarEvent[]): void {
    for (const event of events) {
      if (this.#isTooLong) return;
      switch (event.type) {
        case 'directory': {
          const entries = new Map<string, NarNode>();
          this.#put(event.path, { type: 'directory', entries });
          this.#open.push(entries);
          break;
        }
        case 'leave':
          this.#open.pop();
          break;
        case 'regular': {
          const { type, path, size, executable, narOffset } = event;
          this.#put(path, { type, size, executable, narOffset });
          break;
        }
        case 'symlink':
          this.#put(event.path, { type: 'symlink', target: event.target });
          break;
        case 'contents':
          break;
      }
    }
  }

  /** The listing, once the parser has come to its end; undefined for one that is too long. */
  root(): NarNode | undefined {
    if (this.#isTooLong) return undefined;
    if (this.#root === undefined) throw new Error('the NAR has not been read to its end');
    return this.#root;
  }

  #put(path: string, node: NarNode): void {
    const directory = this.#open.at(-1);
    const name = ownText(path, path.lastIndexOf('/') + 1);
    if (!this.#budget.take(node.type === 'symlink' ? name + node.target : name)) {
      this.#isTooLong = true;
      this.#root = undefined;
      this.#open.length = 0;
    } else if (directory === undefined) this.#root = node;
    else directory.set(name, node);
  }
}

/** `text` from `start` on. Of a long text it is copied, for what is sliced off keeps all of it in memory. */
function ownText(text: string, start: number): string {
  const part = text.slice(start);
  return start <= MAX_SHARED ? part : Buffer.from(part, 'utf16le').toString('utf16le');
}

const MAX_SHARED = 64;

/** One actor's connection to the simulated registry: its calls wait for their turn, fail, are doubled, or end for ever. */

import { Readable } from 'node:stream';
import type { CallOptions } from '../../src/call-options.ts';
import { NixcacheError } from '../../src/errors.ts';
import type {
  BlobTarget,
  ContentStore,
  Deleter,
  OpenContent,
  PushResult,
  StoredManifest,
} from '../../src/oci/content-store.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { type Digest, isDigest } from '../../src/oci/digest.ts';
import type { ByteRange } from '../../src/streams/byte-range.ts';
import { checkRange } from '../../src/streams/byte-range.ts';
import { readThrough, verifyRange, verifyStream } from '../../src/streams/verify.ts';
import { readAll } from '../support/bytes.ts';
import type { StoreMethod } from '../support/memory-store.ts';
import type { SimulatedRegistry } from './simulated-registry.ts';

/**
 * What goes wrong with one call. `twice`: it is done again later, behind the actor's back. `held`: it arrives when everybody
 * else is done. `killed`: so too, and the actor is dead by then.
 */
export type FaultKind = 'before' | 'after' | 'twice' | 'crash' | 'held' | 'killed';

export interface Fault {
  /** Of the actor's calls that may go wrong, from 0. */
  readonly call: number;
  /** Only these may; default all. */
  readonly method?: StoreMethod | undefined;
  readonly kind: FaultKind;
}

export interface StoreOptions {
  readonly registry: SimulatedRegistry;
  readonly turn: () => Promise<void>;
  /** Settles when nobody else has anything left to do; default: as `turn` does. */
  readonly hold?: () => Promise<void>;
  readonly faults?: readonly Fault[];
}

export class SimulatedStore implements ContentStore, Deleter {
  readonly name: string;
  readonly maxLayers: number;
  readonly #registry: SimulatedRegistry;
  readonly #turn: () => Promise<void>;
  readonly #hold: () => Promise<void>;
  readonly #faults: readonly Fault[];
  readonly #calls = new Map<StoreMethod | undefined, number>();
  #crashed = false;
  #late: (() => unknown) | undefined;

  constructor({ registry, turn, hold = turn, faults = [] }: StoreOptions) {
    this.#registry = registry;
    this.#turn = turn;
    this.#hold = hold;
    this.#faults = faults;
    this.name = registry.name;
    this.maxLayers = registry.habits.maxLayers;
  }

  fetchBlob(
    target: BlobTarget,
    { range }: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<Readable> {
    return this.#call('fetchBlob', () => {
      const held = this.#registry.blobs.get(target.digest);
      if (!held) throw new NixcacheError('ERR_NOT_FOUND', `fetch blob ${target.digest}: it is not there`);
      if (!range) return readThrough(Readable.from([held.bytes]), verifyStream(target));
      checkRange({ digest: target.digest, size: held.bytes.length }, range);
      const part = held.bytes.subarray(range.offset, range.offset + range.length);
      return readThrough(Readable.from([part]), verifyRange(range.length));
    });
  }

  hasBlob({ digest }: BlobTarget): Promise<boolean> {
    return this.#call('hasBlob', () => this.#registry.blobs.has(digest));
  }

  async pushBlob(expected: Descriptor, open: OpenContent): Promise<PushResult> {
    const bytes = await readAll(readThrough(await open(), verifyStream(expected)));
    return this.#call('pushBlob', () => {
      if (this.#registry.blobs.has(expected.digest)) return 'existed';
      this.#registry.pushBlob(expected, bytes);
      return 'pushed';
    });
  }

  fetchManifest(reference: string): Promise<StoredManifest | undefined> {
    return this.#call('fetchManifest', () => this.#find(reference));
  }

  resolve(reference: string): Promise<Descriptor | undefined> {
    return this.#call('resolve', () => this.#find(reference)?.descriptor);
  }

  listTags(): Promise<string[]> {
    return this.#call('listTags', () => this.#registry.listTags());
  }

  pushManifest(tag: string, mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    return this.#call('pushManifest', () => this.#registry.pushManifest(tag, mediaType, Buffer.from(bytes)));
  }

  deleteManifest(digest: Digest): Promise<'deleted' | 'absent'> {
    return this.#call('deleteManifest', () => this.#registry.deleteManifest(digest));
  }

  #find(reference: string): StoredManifest | undefined {
    return isDigest(reference) ? this.#registry.manifests.get(reference) : this.#registry.readTag(reference);
  }

  async #call<T>(method: StoreMethod, act: () => T): Promise<T> {
    if (this.#crashed) throw cutOff();
    await this.#turn();
    if (this.#crashed) throw cutOff();
    const late = this.#late;
    this.#late = undefined;
    const fault = this.#faultOf(method);
    if (fault === 'crash') this.#crashed = true;
    if (fault === 'crash' || fault === 'before') throw cutOff();
    if (fault === 'held' || fault === 'killed') await this.#hold();
    if (fault === 'killed') this.#crashed = true;
    const result = act();
    if (late) attempt(late);
    if (fault === 'twice') this.#late = act;
    if (fault === 'after' || fault === 'killed') throw cutOff();
    return result;
  }

  #faultOf(method: StoreMethod): FaultKind | undefined {
    const [nth, nthOfMethod] = [undefined, method].map((key) => {
      const count = this.#calls.get(key) ?? 0;
      this.#calls.set(key, count + 1);
      return count;
    });
    const hits = (fault: Fault): boolean =>
      fault.method === undefined ? fault.call === nth : fault.method === method && fault.call === nthOfMethod;
    return this.#faults.find(hits)?.kind;
  }
}

const cutOff = (): NixcacheError => new NixcacheError('ERR_NETWORK', 'the connection was cut');

/** Nobody learns what became of a request that was doubled on its way. */
function attempt(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof NixcacheError)) throw error;
  }
}

/** Which entries of a cache are to be copied, references first, and which must not be. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import type { HeldSegment } from '../cache/read/loaded-entries.ts';
import { referencesFirst } from '../cache/write/references-first.ts';
import type { Entry } from '../cache-index/entry.ts';
import { isSameSigned, type PublicKey, type SecretKey, signaturesOf } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { isAsWanted, isTrusted, UNTRUSTED } from './destination.ts';
import { Refusals } from './refusals.ts';
import { entriesOf } from './segment-plan.ts';
import { isUnsigned } from './unsigned.ts';

export interface EntrySelectionOptions {
  readonly source: IndexReader;
  readonly destination: IndexReader;
  readonly keys: readonly SecretKey[];
  readonly trustedKeys: readonly PublicKey[];
}

export interface WantedEntry {
  readonly entry: Entry;
  /** The segment of the source that lists it. */
  readonly tag: string;
  /** Unix seconds. */
  readonly asserted: number;
  /** Signatures that the destination's own entry has. */
  readonly otherSigs: readonly string[];
}

export interface Survey {
  /** What the destination does not have; bytes of compressed NARs. */
  readonly lacking: { readonly paths: number; readonly bytes: number };
  readonly existed: number;
  /** How many of what is lacking nobody has signed once it is copied. */
  readonly unsigned: number;
  /** References that the source does not have. */
  readonly absent: number;
}

export class EntrySelection {
  readonly #options: EntrySelectionOptions;
  /** What is not copied, and why; known after a survey. */
  readonly refusals = new Refusals();

  constructor(options: EntrySelectionOptions) {
    this.#options = options;
  }

  /** Counts what copying `roots` and all that they refer to takes; without roots, everything. */
  survey(roots: Iterable<HashPart> | undefined): Survey {
    const { destination } = this.#options;
    const absent = new Set<HashPart>();
    let paths = 0;
    let bytes = 0;
    let existed = 0;
    let unsigned = 0;
    for (const entry of this.#surveyed(roots, absent)) {
      const hashPart = hashPartOf(entry.narInfo.path);
      if (destination.has(hashPart)) {
        this.refusals.pass(entry.narInfo);
        existed++;
      } else if (!this.#refuse(entry)) {
        paths++;
        if (isUnsigned(entry.narInfo, this.#options)) unsigned++;
        bytes += entry.narInfo.fileSize;
      }
    }
    return { lacking: { paths, bytes }, existed, unsigned, absent: absent.size };
  }

  /** References first, but where nothing can be refused and everything is asked for: a walk remembers every path. */
  *#surveyed(roots: Iterable<HashPart> | undefined, absent: Set<HashPart>): Generator<Entry> {
    const { source, trustedKeys } = this.#options;
    if (roots === undefined && trustedKeys.length === 0) {
      for (const { entry } of source.entries()) {
        for (const reference of entry.narInfo.references.map(hashPartOf))
          if (!source.has(reference)) absent.add(reference);
        yield entry;
      }
      return;
    }
    for (const hashPart of referencesFirst(roots ?? allHashes(source), (each) => this.#referencesOf(each, absent))) {
      const entry = source.findEntry(hashPart);
      if (entry) yield entry;
    }
  }

  /** Of `roots` and all that they refer to, what is not at the destination as it should be. */
  *wanted(roots: Iterable<HashPart>, has: (hashPart: HashPart) => boolean): Generator<WantedEntry> {
    const { destination, keys, trustedKeys, source } = this.#options;
    for (const hashPart of referencesFirst(roots, (each) => this.#referencesOf(each))) {
      const known = source.findAsserted(hashPart);
      if (!known || this.refusals.has(hashPart)) continue;
      const { narInfo } = known.entry;
      const held = destination.findEntry(hashPart)?.narInfo;
      if (!held && keys.length === 0 && has(hashPart)) continue; // taken over as the source has it
      // Another machine's build of the path may have another NAR, for which the destination's signatures are none.
      const isSame = held !== undefined && isSameSigned(held, narInfo);
      if (held) {
        // What is there stays, but for signatures: it gets those that it lacks, and makes way where it is not trusted.
        const lacksNone = !isSame || signaturesOf(narInfo, keys, held.sigs).every((sig) => held.sigs.includes(sig));
        if ((lacksNone && isAsWanted(held, this.#options)) || !isTrusted(narInfo, trustedKeys)) continue;
      }
      yield { ...known, otherSigs: isSame ? held.sigs : [] };
    }
  }

  /** What a copy of `roots`, or of everything, leaves at the destination. */
  *reached(roots: Iterable<HashPart> | undefined): Generator<HashPart> {
    const { source } = this.#options;
    for (const hashPart of roots ? referencesFirst(roots, (each) => this.#referencesOf(each)) : allHashes(source)) {
      if (!this.refusals.has(hashPart)) yield hashPart;
    }
  }

  /** Whether nothing in `segment` is refused. */
  allows(segment: HeldSegment): boolean {
    if (this.#options.trustedKeys.length === 0) return true;
    for (const { narInfo } of entriesOf(segment)) {
      if (this.refusals.has(hashPartOf(narInfo.path)) || !isTrusted(narInfo, this.#options.trustedKeys)) return false;
    }
    return true;
  }

  #referencesOf(hashPart: HashPart, absent?: Set<HashPart>): readonly HashPart[] | undefined {
    const entry = this.#options.source.findEntry(hashPart);
    if (!entry) absent?.add(hashPart);
    return entry?.narInfo.references.map(hashPartOf);
  }

  #refuse({ narInfo }: Entry): boolean {
    const isUntrusted = !isTrusted(narInfo, this.#options.trustedKeys);
    const reason = this.refusals.faultOf(narInfo) ?? (isUntrusted ? UNTRUSTED : undefined);
    if (reason !== undefined) this.refusals.add(narInfo, reason);
    return reason !== undefined;
  }
}

export function* allHashes(reader: IndexReader): Generator<HashPart> {
  for (const { entry } of reader.entries()) yield hashPartOf(entry.narInfo.path);
}

/** What could be read of one live segment, and of the trouble in its rows. */
import type { Entry } from '../cache-index/entry.ts';
import type { SegmentRows } from '../cache-index/entry-table.ts';
import type { SegmentConfig } from '../cache-index/segment.ts';
import type { StoredManifest } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';

/** What is wrong with an entry, as far as it decides what can be done. */
export interface RowFault {
  /** `lost`: its bytes are not there. `corrupt`: there are others in their place, which would be taken for them. */
  readonly nar?: 'lost' | 'corrupt';
  /** Its listing cannot be had. */
  readonly listing?: boolean;
  /** The digests of its pieces are not of its NAR. */
  readonly pieces?: boolean;
  /** Its text is not as it should be; the entry itself is known. */
  readonly text?: boolean;
}

export interface SegmentParts {
  readonly tag: string;
  /** Unix seconds. */
  readonly time: number;
  readonly manifest: StoredManifest | undefined;
  /** Of the manifest; none where it is unreadable. */
  readonly layers: readonly Descriptor[];
  readonly config: SegmentConfig | undefined;
  /** Of the entries that could be read. */
  readonly rows: SegmentRows;
  readonly textAt: (row: number) => string;
  readonly entryAt: (row: number) => Entry;
  readonly close: () => void;
}

export class ScannedSegment {
  readonly parts: SegmentParts;
  /** By row. */
  readonly faults = new Map<number, RowFault>();
  /** Whether it has to be replaced, whatever its entries are like. */
  isBroken: boolean;

  constructor(parts: SegmentParts, isBroken: boolean) {
    this.parts = parts;
    this.isBroken = isBroken;
  }

  get tag(): string {
    return this.parts.tag;
  }

  get count(): number {
    return this.parts.rows.count;
  }

  /** Whether anything in it has to be written anew. */
  get isDamaged(): boolean {
    return this.isBroken || this.faults.size > 0;
  }

  /** Adds to what is known of a row; what is worse counts. */
  blame(row: number, fault: RowFault): void {
    const held = this.faults.get(row);
    const nar = held?.nar === 'corrupt' ? held.nar : (fault.nar ?? held?.nar);
    this.faults.set(row, { ...held, ...fault, ...(nar ? { nar } : {}) });
  }

  *entries(): Generator<{ readonly row: number; readonly entry: Entry }> {
    for (let row = 0; row < this.count; row++) yield { row, entry: this.parts.entryAt(row) };
  }
}

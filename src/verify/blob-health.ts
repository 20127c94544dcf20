/** The blobs that live segments name, and whether they are there. */

import pLimit from 'p-limit';
import { extentsOf } from '../cache-index/entry.ts';
import type { CallOptions } from '../call-options.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Findings } from './finding.ts';
import { someOf, troubleOf } from './finding.ts';
import type { ScannedSegment } from './scanned-segment.ts';

export interface CheckBlobsOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly findings: Findings;
  readonly onProgress: (done: number, total: number) => void;
}

/** HEAD requests at once. */
const CONCURRENT_CHECKS = 32;

export class BlobHealth {
  readonly #layers = new Map<Digest, Pick<Descriptor, 'mediaType' | 'size'>>();
  readonly #bad = new Map<Digest, 'lost' | 'corrupt'>();

  static of(segments: readonly ScannedSegment[]): BlobHealth {
    const health = new BlobHealth();
    for (const { parts } of segments) {
      // The entries blob was read already.
      for (const { digest, mediaType, size } of parts.layers.slice(1)) health.#layers.set(digest, { mediaType, size });
    }
    return health;
  }

  /** As some manifest describes it. */
  find(digest: Digest): Descriptor | undefined {
    const known = this.#layers.get(digest);
    return known && { ...known, digest };
  }

  /** What is wrong with it, as far as it was looked at. */
  faultOf(digest: Digest): 'lost' | 'corrupt' | undefined {
    return this.#bad.get(digest);
  }

  markCorrupt(digest: Digest): void {
    this.#bad.set(digest, 'corrupt');
  }

  /** Asks for every layer, and for every other blob that entries name. */
  async check(segments: readonly ScannedSegment[], options: CheckBlobsOptions): Promise<void> {
    const { onProgress } = options;
    const unnamed = this.#unnamed(segments);
    const total = this.#layers.size + unnamed.size;
    const limit = pLimit(CONCURRENT_CHECKS);
    let done = 0;
    const check = async (digest: Digest, size?: number): Promise<void> => {
      const fault = await this.#faultAt(digest, size, options);
      if (fault) this.#bad.set(digest, fault);
      onProgress(++done, total);
    };
    try {
      await Promise.all([
        ...[...this.#layers].map(([digest, { size }]) => limit(() => check(digest, size))),
        ...[...unnamed].map((digest) => limit(() => check(digest))),
      ]);
    } finally {
      limit.clearQueue();
    }
    this.#blame(segments, options.findings);
  }

  #unnamed(segments: readonly ScannedSegment[]): Set<Digest> {
    const unnamed = new Set<Digest>();
    for (const segment of segments) {
      if (segment.faults.size === 0 && !segment.isBroken) continue; // then all its extents lie in its layers
      for (const { entry } of segment.entries()) {
        for (const { digest } of extentsOf(entry)) {
          if (!this.#layers.has(digest)) unnamed.add(digest);
        }
      }
    }
    return unnamed;
  }

  async #faultAt(
    digest: Digest,
    size: number | undefined,
    { store, findings, signal }: CheckBlobsOptions,
  ): Promise<'lost' | 'corrupt' | undefined> {
    try {
      if (await store.hasBlob({ digest, size }, { signal })) return undefined;
      return size !== undefined && (await store.hasBlob({ digest }, { signal })) ? 'corrupt' : 'lost';
    } catch (error) {
      const trouble = troubleOf(error, { signal });
      if (trouble.kind !== 'unanswered') return 'lost';
      findings.add('unanswered', digest, trouble.message);
      return undefined;
    }
  }

  #blame(segments: readonly ScannedSegment[], findings: Findings): void {
    if (this.#bad.size === 0) return;
    const needed = new Map<Digest, string[]>();
    for (const segment of segments) {
      const isHit = segment.isBroken || segment.parts.layers.some(({ digest }) => this.#bad.has(digest));
      if (!isHit) continue;
      segment.isBroken = true;
      blameRows(segment, this);
      for (const { entry } of segment.entries()) {
        for (const digest of new Set(extentsOf(entry).map((at) => at.digest))) {
          if (!this.#bad.has(digest)) continue;
          const paths = needed.get(digest) ?? [];
          paths.push(entry.narInfo.path);
          needed.set(digest, paths);
        }
      }
    }
    for (const [digest, fault] of this.#bad) {
      const paths = [...new Set(needed.get(digest))];
      const whose = paths.length > 0 ? `; in it lie ${someOf(paths)}` : '';
      if (fault === 'lost') findings.add('blob-missing', digest, `blob ${digest} is not there${whose}`);
      else findings.add('blob-damaged', digest, `blob ${digest} does not have the size that its manifest says${whose}`);
    }
  }
}

/** Lays the faults of blobs on the entries that lie in them. */
export function blameRows(segment: ScannedSegment, health: BlobHealth): void {
  for (const { row, entry } of segment.entries()) {
    const faults = entry.nar.map(({ digest }) => health.faultOf(digest)).filter((fault) => fault !== undefined);
    if (faults.length > 0) segment.blame(row, { nar: faults.includes('corrupt') ? 'corrupt' : 'lost' });
    if (entry.listing?.extents.some(({ digest }) => health.faultOf(digest))) segment.blame(row, { listing: true });
  }
}

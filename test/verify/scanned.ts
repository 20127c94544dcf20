/** Segments as an inspection holds them, from entries made up: nothing is stored, so that a test says what is wrong. */
import { createHash } from 'node:crypto';
import { digestOfFile, type Entry, formatEntry, narUrl, parseEntry, wholeBlob } from '../../src/cache-index/entry.ts';
import { EntryTable } from '../../src/cache-index/entry-table.ts';
import { ENTRIES, NAR } from '../../src/cache-index/media-types.ts';
import { scanEntries } from '../../src/cache-index/segment-rows.ts';
import { hashFromBytes, type NixHash } from '../../src/nix/hash.ts';
import { type SecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { toStorePath } from '../../src/nix/store-path.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { Findings } from '../../src/verify/finding.ts';
import type { Inspection } from '../../src/verify/inspect.ts';
import { ScannedSegment } from '../../src/verify/scanned-segment.ts';
import { baseNameFor } from '../support/cache-builder.ts';

export interface EntrySpec {
  readonly name: string;
  readonly references?: readonly string[];
  readonly keys?: readonly SecretKey[];
  readonly asserted?: number;
  readonly edit?: (entry: Entry) => Entry;
}

const hashOf = (text: string): NixHash => hashFromBytes(createHash('sha256').update(text).digest());

export function entryOf({ name, references = [], keys = [], asserted, edit }: EntrySpec): Entry {
  const fileHash = hashOf(`file ${name}`);
  const info = {
    path: toStorePath(baseNameFor(name)),
    ...{ narHash: hashOf(`nar ${name}`), narSize: 200, references: references.map(baseNameFor).sort() },
  };
  const entry: Entry = {
    narInfo: {
      ...info,
      sigs: keys.map((key) => signPathInfo(info, key)),
      ...{ url: narUrl(fileHash, 'zstd'), compression: 'zstd', fileHash, fileSize: 100 },
    },
    nar: [wholeBlob(digestOfFile(fileHash), 100)],
    ...(asserted !== undefined && { asserted }),
  };
  return edit?.(entry) ?? entry;
}

export interface SegmentSpec {
  readonly entries: readonly EntrySpec[];
  /** Unix seconds; default 0. */
  readonly time?: number;
  /** What its manifest names; default all that its entries need. */
  readonly layers?: readonly Descriptor[];
  /** Changes the text of each entry. */
  readonly editText?: (text: string) => string;
}

let count = 0;

export function scanned({ entries, time = 0, layers, editText = (text) => text }: SegmentSpec): ScannedSegment {
  const made = entries.map(entryOf).sort((a, b) => (a.narInfo.path < b.narInfo.path ? -1 : 1));
  const texts = made.map((entry) => editText(formatEntry(entry)));
  const text = Buffer.from(texts.join('\n'));
  const own = made.flatMap(({ nar }) => nar.map(({ digest, length }) => ({ mediaType: NAR, digest, size: length })));
  const first = { mediaType: ENTRIES, digest: digestOf(text), size: text.length };
  const parts = {
    ...{ tag: `segment-${++count}`, time, manifest: undefined, config: undefined, close: () => undefined },
    layers: [first, ...(layers ?? own)],
    rows: scanEntries(text, 'the test'),
    textAt: (row: number) => texts[row] ?? '',
    entryAt: (row: number) => parseEntry(texts[row] ?? '', '/nix/store'),
  };
  return new ScannedSegment(parts, false);
}

/** The row of the path called `name`. */
export function rowOf(segment: ScannedSegment, name: string): number {
  const path = toStorePath(baseNameFor(name));
  for (const { row, entry } of segment.entries()) if (entry.narInfo.path === path) return row;
  throw new Error(`${name} is not in the segment`);
}

/** As far as entries matter. */
export function inspectionOf(segments: readonly ScannedSegment[], rest: Partial<Inspection> = {}): Inspection {
  return {
    findings: new Findings(),
    scan: { index: 'ours', damagedCheckpoints: [], lostCheckpoints: [] } as unknown as Inspection['scan'],
    segments,
    table: EntryTable.of(segments.map(({ parts }) => parts.rows)),
    catalog: undefined as unknown as Inspection['catalog'],
    ...{ missing: new Map(), unsigned: new Set(), keys: [], publicKeys: [], roots: [], pins: [] },
    storeDir: '/nix/store',
    close: () => undefined,
    ...rest,
  };
}

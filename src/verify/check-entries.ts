/** Looks at each entry by itself: its text, where its bytes should lie, who signed it. */
import { clientText, type Entry, extentsOf, narUrl } from '../cache-index/entry.ts';
import type { Extent } from '../cache-index/extent.ts';
import { formatNarInfo } from '../nix/nar-info.ts';
import { findSigner, type PublicKey } from '../nix/signature.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { Digest } from '../oci/digest.ts';
import { formatCount } from '../quantity.ts';
import type { Findings } from './finding.ts';
import type { RowFault, ScannedSegment } from './scanned-segment.ts';

export interface CheckEntriesOptions {
  readonly findings: Findings;
  /** None: the cache has no keys, and signatures cannot be checked. */
  readonly keys: readonly PublicKey[];
  /** The user named the keys: what they did not sign is refused. Else the cache did, and may hold what it says is unsigned. */
  readonly areTrusted: boolean;
}

export interface EntryChecks {
  /** Paths that no key signed, where there are keys. */
  readonly unsigned: ReadonlySet<string>;
}

/** Goes through all entries, and notes in `segments` what has to be written anew. */
export function checkEntries(segments: readonly ScannedSegment[], options: CheckEntriesOptions): EntryChecks {
  const { findings, keys } = options;
  const seen = new Set<HashPart>();
  const unsigned = new Set<string>();
  let bare = 0;
  for (const segment of segments.toReversed()) {
    const layers = new Map(segment.parts.layers.map(({ digest, size }) => [digest, size]));
    for (const { row, entry } of segment.entries()) {
      const fault = checkText(segment, row, entry, findings);
      const misplaced = segment.parts.layers.length > 0 ? checkPlaces(segment.tag, entry, layers, findings) : undefined;
      if (fault || misplaced) segment.blame(row, { ...fault, ...misplaced });
      const { path, sigs } = entry.narInfo;
      const hashPart = hashPartOf(path);
      // Readers see the newest form; what is older counts only if that is all there is.
      if (seen.has(hashPart)) continue;
      seen.add(hashPart);
      if (keys.length === 0) bare += sigs.length === 0 ? 1 : 0;
      else if (!findSigner(entry.narInfo, keys)) {
        unsigned.add(path);
        addUnsigned(entry.narInfo, options);
      }
    }
  }
  if (bare > 0) {
    findings.add(
      'unsigned-cache',
      'public keys',
      `${formatCount(bare, 'entry is', 'entries are')} unsigned, and the cache names no public key`,
    );
  }
  return { unsigned };
}

function addUnsigned({ path, sigs }: Entry['narInfo'], { findings, keys, areTrusted }: CheckEntriesOptions): void {
  const wrong = sigs.filter((sig) => keys.some(({ name }) => sig.startsWith(`${name}:`)));
  if (wrong.length > 0) {
    findings.add('signature-wrong', path, `${path}: the signature of ${namesOf(wrong)} is over something else`);
    return;
  }
  const why = sigs.length === 0 ? 'nobody signed it' : `only others signed it: ${namesOf(sigs)}`;
  findings.add(areTrusted ? 'untrusted' : 'unsigned', path, `${path}: ${why}`);
}

const namesOf = (sigs: readonly string[]): string => sigs.map((sig) => sig.slice(0, sig.indexOf(':'))).join(', ');

function checkText(segment: ScannedSegment, row: number, entry: Entry, findings: Findings): RowFault | undefined {
  const { narInfo } = entry;
  const url = narUrl(narInfo.fileHash, narInfo.compression);
  const faults = [
    narInfo.url === url ? '' : `its URL is ${narInfo.url} instead of ${url}`,
    clientText(segment.parts.textAt(row)) === formatNarInfo(narInfo) ? '' : 'its narinfo is not as Nix writes it',
    extentsOf(entry).every(({ length }) => length > 0) ? '' : 'one of its extents is empty',
  ].filter((fault) => fault !== '');
  if (faults.length === 0) return undefined;
  findings.add('entry-malformed', narInfo.path, `segment ${segment.tag}, ${narInfo.path}: ${faults.join(', ')}`);
  return { text: true };
}

/** Whether the segment's manifest keeps the bytes of the entry from being collected, all of them. */
function checkPlaces(
  tag: string,
  { narInfo, nar, listing }: Entry,
  layers: ReadonlyMap<Digest, number>,
  findings: Findings,
): RowFault | undefined {
  let fault: RowFault | undefined;
  const check = (extents: readonly Extent[], beyond: RowFault): void => {
    for (const { digest, offset, length } of extents) {
      const size = layers.get(digest);
      if (size === undefined) {
        findings.add(
          'blob-unreachable',
          digest,
          `segment ${tag} does not name blob ${digest}, where ${narInfo.path} lies`,
        );
        fault = { text: true, ...fault };
      } else if (offset + length > size) {
        findings.add(
          'entry-damaged',
          narInfo.path,
          `segment ${tag}: ${narInfo.path} goes beyond the end of blob ${digest}`,
        );
        fault = { ...fault, ...beyond };
      }
    }
  };
  check(nar, { nar: 'corrupt' });
  check(listing?.extents ?? [], { listing: true });
  return fault;
}

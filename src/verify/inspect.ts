/** One pass over a cache: reads all that is live and checks it. Nothing is changed. */

import pLimit from 'p-limit';
import type { Mirror } from '../cache/read/mirror.ts';
import { EntryTable } from '../cache-index/entry-table.ts';
import { mergePins, mergeRoots, type Pin, type Root } from '../cache-index/records.ts';
import { segmentDescriptor } from '../cache-index/segment.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { type PublicKey, parsePublicKey, sortPublicKeys } from '../nix/signature.ts';
import { type BaseName, DEFAULT_STORE_DIR, type HashPart, storeDirOf } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { BlobHealth } from './blob-health.ts';
import { checkClosure } from './check-closure.ts';
import { checkContents } from './check-contents.ts';
import { checkEntries } from './check-entries.ts';
import type { OnVerifyEvent } from './events.ts';
import { Findings } from './finding.ts';
import { scanSegment } from './scan-segment.ts';
import { checkCacheIndex, scanTags, type TagScan } from './scan-tags.ts';
import type { ScannedSegment } from './scanned-segment.ts';

export interface InspectOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  /** Where entries are kept while they are looked at; what it remembers stands in for what the cache has lost. */
  readonly mirror: Mirror;
  /** See VerifyOptions. */
  readonly legacy?: 'read' | undefined;
  readonly upstreams: readonly Upstream[];
  /** `name:base64`; none: those that publishers of the cache named. */
  readonly trustedPublicKeys: readonly string[];
  /** Whether every NAR is read. */
  readonly contents: boolean;
  /** Keys of NARs found good earlier in this run. */
  readonly good: Set<string>;
  readonly onEvent: OnVerifyEvent;
  readonly now: () => Date;
}

export interface Inspection {
  readonly findings: Findings;
  readonly scan: TagScan;
  /** Live ones, oldest first. */
  readonly segments: readonly ScannedSegment[];
  readonly table: EntryTable;
  readonly catalog: BlobHealth;
  /** References that are nowhere. */
  readonly missing: ReadonlyMap<HashPart, BaseName>;
  /** Store paths. */
  readonly unsigned: ReadonlySet<string>;
  readonly keys: readonly PublicKey[];
  readonly publicKeys: readonly string[];
  readonly roots: readonly Root[];
  readonly pins: readonly Pin[];
  readonly storeDir: string;
  close(): void;
}

/** Of one pass, while a gc deletes what the tag list still named when it was read. */
const MAX_ATTEMPTS = 3;
/** Segments read at once; each is some megabytes of text for a moment. */
const CONCURRENT_SEGMENTS = 8;
const CONCURRENT_RESOLVES = 16;

/** @throws {NixcacheError} when it cannot be told what the cache is like: no network, no credentials, a newer format */
export async function inspect(options: InspectOptions): Promise<Inspection> {
  for (let attempt = 1; ; attempt++) {
    const inspection = await inspectOnce(options, attempt < MAX_ATTEMPTS);
    if (inspection) return inspection;
  }
}

/** Undefined when the cache changed under it. */
async function inspectOnce(options: InspectOptions, mayRetry: boolean): Promise<Inspection | undefined> {
  const { store, mirror, onEvent, signal } = options;
  const findings = new Findings();
  onEvent({ type: 'stage', stage: 'read' });
  const scan = await scanTags({ store, mirror, findings, signal, legacy: options.legacy, now: options.now() });
  const segments = await scanSegments(scan, findings, options);
  const close = (): void => {
    for (const { parts } of segments) parts.close();
  };
  try {
    if (mayRetry && findings.list.length > 0 && (await hasShrunk(scan, options))) {
      close();
      return undefined;
    }
    checkCacheIndex(scan, descriptorsOf(segments), { findings });
    await checkDuplicates(scan, segments, findings, options);
    return { ...(await check(scan, segments, findings, options)), close };
  } catch (error) {
    close();
    throw error;
  }
}

async function check(
  scan: TagScan,
  segments: readonly ScannedSegment[],
  findings: Findings,
  options: InspectOptions,
): Promise<Omit<Inspection, 'close'>> {
  const { store, upstreams, onEvent, signal } = options;
  const configs = segments.flatMap(({ parts }) => parts.config ?? []);
  const checkpoints = scan.live.checkpoints.flatMap((tag) => scan.checkpoints.get(tag) ?? []);
  const sources = [...configs, ...checkpoints];
  const publicKeys = [...new Set([...scan.publicKeys, ...sources.flatMap((source) => source.publicKeys)])];
  const keys = keysOf(options.trustedPublicKeys, publicKeys, findings);
  const roots = mergeRoots(sources.map((source) => source.roots));
  const pins = mergePins(sources.map((source) => source.pins));
  const { unsigned } = checkEntries(segments, {
    ...{ findings, keys, areTrusted: options.trustedPublicKeys.length > 0 },
  });
  onEvent({ type: 'stage', stage: 'blobs' });
  const catalog = BlobHealth.of(segments);
  await catalog.check(segments, {
    ...{ store, findings, signal },
    onProgress: (done, total) => onEvent({ type: 'blobs', done, total }),
  });
  onEvent({ type: 'stage', stage: 'closure' });
  const table = EntryTable.of(segments.map(({ parts }) => parts.rows));
  const storeDir = storeDirIn(segments);
  const { missing } = await checkClosure({
    ...{ segments, table, roots, pins, upstreams, storeDir, findings, signal },
    onProgress: (done, total) => onEvent({ type: 'upstream', done, total }),
  });
  if (options.contents) {
    onEvent({ type: 'stage', stage: 'contents' });
    await checkContents({ store, segments, catalog, findings, good: options.good, onEvent, signal });
  }
  return { findings, scan, segments, table, catalog, missing, unsigned, keys, publicKeys, roots, pins, storeDir };
}

/** A key that the user gives has to be one; one that the cache names may be nonsense. */
function keysOf(given: readonly string[], named: readonly string[], findings: Findings): readonly PublicKey[] {
  if (given.length > 0) return given.map(parsePublicKey);
  const { keys, malformed } = sortPublicKeys(named);
  for (const text of malformed)
    findings.add('key-malformed', text, `the cache names '${text}', which is no public key`);
  return keys;
}

async function scanSegments(
  scan: TagScan,
  findings: Findings,
  { store, mirror, onEvent, signal }: InspectOptions,
): Promise<readonly ScannedSegment[]> {
  const tags = scan.live.segments;
  const limit = pLimit(CONCURRENT_SEGMENTS);
  let done = 0;
  let stopped = false;
  const outcomes = await Promise.allSettled(
    tags.map((tag) =>
      limit(async () => {
        if (stopped) return undefined;
        try {
          const segment = await scanSegment(tag, { store, mirror, findings, scan, signal });
          onEvent({ type: 'segments', done: ++done, total: tags.length });
          return segment;
        } catch (error) {
          stopped = true;
          throw error;
        }
      }),
    ),
  );
  const segments = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? (outcome.value ?? []) : []));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (!failed) return segments;
  for (const { parts } of segments) parts.close();
  throw failed.reason;
}

/** Whether tags that were listed are gone: then what looked lost was deleted by a gc. */
async function hasShrunk({ tags }: TagScan, { store, signal }: InspectOptions): Promise<boolean> {
  const now = new Set(await store.listTags({ signal }));
  return [...tags].some((tag) => !now.has(tag));
}

/** As `cache-index` lists them, by tag. */
export const descriptorsOf = (segments: readonly ScannedSegment[]): Map<string, Descriptor> =>
  new Map(
    segments.flatMap(({ tag, parts }) =>
      parts.manifest ? [[tag, segmentDescriptor(parts.manifest.descriptor, tag, parts.layers[0]?.size)] as const] : [],
    ),
  );

/** Deleting a manifest deletes all its tags. */
async function checkDuplicates(
  { tags }: TagScan,
  segments: readonly ScannedSegment[],
  findings: Findings,
  { store, signal }: InspectOptions,
): Promise<void> {
  const holders = new Map<Digest, string>();
  const hold = (tag: string, digest: Digest): void => {
    const other = holders.get(digest);
    if (other === undefined) holders.set(digest, tag);
    else if (other !== tag) findings.add('duplicate-digest', tag, `${tag} and ${other} are on one manifest, ${digest}`);
  };
  for (const { tag, parts } of segments) if (parts.manifest) hold(tag, parts.manifest.descriptor.digest);
  const limit = pLimit(CONCURRENT_RESOLVES);
  const foreign = [...tags].filter((tag) => parseTag(tag) === undefined);
  const found = await Promise.all(
    foreign.map((tag) => limit(async () => [tag, (await store.resolve(tag, { signal }))?.digest] as const)),
  );
  for (const [tag, digest] of found) if (digest) hold(tag, digest);
}

function storeDirIn(segments: readonly ScannedSegment[]): string {
  const filled = segments.find(({ count }) => count > 0);
  return filled ? storeDirOf(filled.parts.entryAt(0).narInfo.path) : DEFAULT_STORE_DIR;
}

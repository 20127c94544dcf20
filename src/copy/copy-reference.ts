/**
 * From one cache into another, wherever both lie. Segments are taken over byte for byte where the destination stays
 * closed with them; other entries are written into segments of its own, references first. The destination keeps all that
 * it has. A killed copy leaves it whole, and the next run sends what is missing.
 */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { stopAtProblems } from '../cache/read/problem.ts';
import { fetchRecords, fetchSegmentRecords, readRecords } from '../cache/read/stored-records.ts';
import { assertCache, type CacheView } from '../cache/read/view.ts';
import type { CacheWriter } from '../cache/write/cache-writer.ts';
import { carried, type PendingEntry } from '../cache/write/incoming.ts';
import { type KeepWholeOptions, keepWhole, restoreVanished } from '../cache/write/keep-whole.ts';
import { mergeRecords, NO_RECORDS, type SegmentRecords } from '../cache-index/records.ts';
import { NixcacheError } from '../errors.ts';
import { signaturesOf } from '../nix/signature.ts';
import { type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { BlobCopier } from './blob-copier.ts';
import { BlobFinder } from './blob-finder.ts';
import { newRoots, unknownRecords } from './carried-records.ts';
import type { CopyOptions, CopyReport } from './copy-options.ts';
import { assertSameStoreDir, Destination } from './destination.ts';
import { allHashes, EntrySelection } from './entry-selection.ts';
import { recordsNamed } from './named-records.ts';
import type { Refusals } from './refusals.ts';
import { entriesOf, planSegments, type SegmentPlan } from './segment-plan.ts';
import { warnOfUnsigned } from './unsigned.ts';
import { copyCheckpoint, copySegments, findWideSegments, type WholeOptions } from './whole-objects.ts';

/** What of the source is copied. */
export type Selection =
  | { readonly kind: 'everything' }
  /** With all that they refer to: what roots and pins stand for now whose names are like `names`, and paths, which become roots. */
  | { readonly kind: 'some'; readonly names: readonly string[]; readonly paths: readonly StorePath[] };

export interface CopyReferenceOptions extends CopyOptions {
  readonly source: ReadOnlyStore;
  /** Strict, over the source; refreshed by the copy. */
  readonly sourceReader: IndexReader;
  readonly selection: Selection;
}

/**
 * @throws {NixcacheError} ERR_INDEX and ERR_INDEX_VERSION when one of the two cannot be read, before anything is written;
 *   ERR_NOT_FOUND when there is no source, or what was selected is not in it; and what the stores throw
 */
export async function copyReference(options: CopyReferenceOptions): Promise<CopyReport> {
  const { source, sourceReader, reader, destination, dryRun, onEvent, signal } = options;
  onEvent({ type: 'stage', stage: 'read' });
  await Promise.all([sourceReader.refresh({ signal }), reader.refresh({ signal })]);
  assertSameStoreDir(reader, sourceReader);
  const { view } = sourceReader;
  if (!view) throw new Error('the source was never refreshed');
  assertCache(view, source.name);
  const selection = new EntrySelection({ ...options, source: sourceReader, destination: reader });
  const selected = await select(options, view);
  const { lacking, existed, unsigned, absent } = selection.survey(selected?.hashParts);
  const { refusals } = selection;
  for (const refused of refusals.list) onEvent({ type: 'refused', ...refused });
  onEvent({ type: 'planned', ...lacking });
  warnOfUnsigned(unsigned, options);
  const target = new Destination(options);
  const whole = dryRun ? NOTHING : await execute({ options, view, selection, target }, selected);
  return {
    source: source.name,
    destination: destination.name,
    dryRun,
    copied: lacking,
    existed: { paths: existed },
    ...target.bytes(),
    segments: { whole: whole.segments, written: target.segments.length - whole.segments },
    checkpoints: whole.checkpoints,
    unsigned,
    refused: refusals.list,
    absent,
  };
}

/** Objects taken over as they are. */
interface WholeCount {
  readonly segments: number;
  readonly checkpoints: number;
}
const NOTHING: WholeCount = { segments: 0, checkpoints: 0 };

interface Job {
  readonly options: CopyReferenceOptions;
  /** Of the source. */
  readonly view: CacheView;
  readonly selection: EntrySelection;
  readonly target: Destination;
}

/** What `selection` stands for. */
interface Selected {
  /** Where the closure to be copied starts. */
  readonly hashParts: readonly HashPart[];
  readonly paths: readonly StorePath[];
  /** The roots and pins that were named. */
  readonly named: SegmentRecords;
}

/** Undefined: everything. */
async function select(options: CopyReferenceOptions, view: CacheView): Promise<Selected | undefined> {
  const { selection, source, sourceReader, onEvent, signal } = options;
  if (selection.kind === 'everything') return undefined;
  const { paths, names } = selection;
  const unknown = paths.find((path) => sourceReader.findEntry(hashPartOf(path))?.narInfo.path !== path);
  if (unknown !== undefined) throw new NixcacheError('ERR_NOT_FOUND', `${source.name} does not have ${unknown}`);
  const named =
    names.length === 0 ? NO_RECORDS : recordsNamed(names, await fetchRecords(source, view, { signal }), source);
  const starts = new Set(paths.map(hashPartOf));
  for (const { name, path } of [...named.roots, ...named.pins]) {
    if (path === undefined) continue;
    if (sourceReader.has(hashPartOf(path))) starts.add(hashPartOf(path));
    else
      onEvent({
        type: 'warning',
        message: `${name} is ${path}, which ${source.name} does not have: another cache may`,
      });
  }
  return { hashParts: [...starts], paths, named };
}

async function execute(job: Job, selected: Selected | undefined): Promise<WholeCount> {
  const { options, target } = job;
  const copier = new BlobCopier({ ...options, onUploaded: target.onUploaded });
  options.onEvent({ type: 'stage', stage: 'copy' });
  try {
    const whole = selected ? await copySelected(job, copier, selected) : await copyEverything(job, copier);
    options.onEvent({ type: 'stage', stage: 'commit' });
    await keepCopied(job, copier, selected?.hashParts);
    await target.pointCacheIndex(await options.sourceReader.fetchPublicKeys());
    return whole;
  } finally {
    copier.stop();
  }
}

/** What the destination had, or has got, may have been dropped there meanwhile: the source still has it. */
async function keepCopied(job: Job, copier: BlobCopier, selected: readonly HashPart[] | undefined): Promise<void> {
  const { sourceReader, reader, destination: store, signal } = job.options;
  await using writer = job.target.writer(sourceReader.storeDir);
  const guard: KeepWholeOptions = {
    ...{ store, reader, writer, signal, relied: () => job.selection.reached(selected) },
    pushAgain: async (lost) => void (await addEntries(job, copier, writer, { roots: lost, has: () => false })),
  };
  if (await restoreVanished(guard, true)) await writer.finish();
  await keepWhole(guard);
}

async function copySelected(job: Job, copier: BlobCopier, selected: Selected): Promise<WholeCount> {
  const { options, selection } = job;
  const { reader } = options;
  const scope = { roots: selected.hashParts, has: (hashPart: HashPart) => reader.has(hashPart) };
  await copyEntries(job, copier, scope, async (withEntries) => {
    const { roots, pins } = await unknownRecords(selection.refusals.wholeOf(selected.named), options);
    const paths = selected.paths.filter((path) => selection.refusals.isWhole(hashPartOf(path)));
    return { roots: [...roots, ...(await newRoots(paths, { ...options, withEntries }))], pins };
  });
  return NOTHING;
}

async function copyEverything(job: Job, copier: BlobCopier): Promise<WholeCount> {
  const { options, view, selection, target } = job;
  const { source, sourceReader, destination, reader, keys, signal } = options;
  const wholeOptions: WholeOptions = { source, view, destination, copier, signal };
  const wide = await findWideSegments(sourceReader, reader, wholeOptions);
  const overstated = await findOverstated(job);
  const plan = planSegments({
    source: sourceReader,
    destination: reader,
    isEligible: (segment) =>
      keys.length === 0 &&
      segment.tag !== view.legacy?.record.tag &&
      !wide.has(segment.tag) &&
      !overstated.has(segment.tag) &&
      selection.allows(segment),
  });
  await copySegments(plan.whole, wholeOptions, (segment) => target.onCommit(segment, plan.brings.get(segment.tag)));
  const { copied, carried } = await copyCheckpoints(job, wholeOptions);
  // With keys, also what the destination has may lack a signature.
  const roots = keys.length > 0 ? allHashes(sourceReader) : hashesApart(plan);
  await copyEntries(job, copier, { roots, has: plan.has }, async () => {
    const records = [...carried];
    for (const { tag } of plan.apart) records.push(await fetchSegmentRecords(source, view, tag, { signal }));
    return unknownRecords(selection.refusals.wholeOf(mergeRecords(records)), options);
  });
  return { segments: plan.whole.length, checkpoints: copied };
}

/** Segments with a root or pin that needs what is not copied. */
async function findOverstated({ options, view, selection }: Job): Promise<ReadonlySet<string>> {
  const { refusals } = selection;
  const overstated = new Set<string>();
  if (refusals.list.length === 0) return overstated;
  for await (const { tag, config } of readRecords(view, {
    ...options,
    store: options.source,
    onProblem: stopAtProblems,
  })) {
    if (isOverstated(config, refusals)) overstated.add(tag);
  }
  return overstated;
}

const isOverstated = (records: SegmentRecords, refusals: Refusals): boolean => {
  const whole = refusals.wholeOf(records);
  return whole.roots.length < records.roots.length || whole.pins.length < records.pins.length;
};

function* hashesApart({ apart }: SegmentPlan): Generator<HashPart> {
  for (const segment of apart) for (const { narInfo } of entriesOf(segment)) yield hashPartOf(narInfo.path);
}

/** Copies what checkpoints it can; `carried` is what the others record. */
async function copyCheckpoints(
  { options, view, target, selection }: Job,
  wholeOptions: WholeOptions,
): Promise<{ readonly copied: number; readonly carried: SegmentRecords[] }> {
  const there = options.reader.view;
  const live = new Set([...(there?.live.segments ?? []), ...target.segments.map(({ tag }) => tag)]);
  const carried: SegmentRecords[] = [];
  let copied = 0;
  for (const tag of view.live.checkpoints) {
    const config = view.checkpoints.get(tag);
    if (!config || there?.tags.has(tag)) continue;
    const stays = there?.live.replaced.has(tag) !== true && !isOverstated(config, selection.refusals);
    if (stays && (await copyCheckpoint(tag, config, { ...wholeOptions, isLive: (name) => live.has(name) }))) copied++;
    else carried.push(config);
  }
  return { copied, carried };
}

interface EntryScope {
  readonly roots: Iterable<HashPart>;
  /** What the destination has by now. */
  readonly has: (hashPart: HashPart) => boolean;
}

/** Copies the closure of `roots` as far as it is missing, entry by entry, and the records that come with it. */
async function copyEntries(
  job: Job,
  copier: BlobCopier,
  scope: EntryScope,
  recordsOf: (withEntries: boolean) => Promise<SegmentRecords>,
): Promise<void> {
  const writer = job.target.writer(job.options.sourceReader.storeDir);
  const count = await addEntries(job, copier, writer, scope);
  await writer.finish(await recordsOf(count > 0));
}

/** How many there were. */
async function addEntries(
  { options, view, selection }: Job,
  copier: BlobCopier,
  writer: CacheWriter,
  { roots, has }: EntryScope,
): Promise<number> {
  const { source, keys, signal } = options;
  const finder = new BlobFinder({ store: source, view, signal });
  let count = 0;
  for (const wanted of selection.wanted(roots, has)) {
    signal?.throwIfAborted();
    copier.throwIfFailed();
    const { narInfo } = wanted.entry;
    const blobs = await finder.find(wanted.entry, wanted.tag);
    const stored = copier.copy(blobs);
    stored.catch(() => undefined); // awaited with its segment, unless throwIfFailed stops the run before
    const sigs = signaturesOf(narInfo, keys, wanted.otherSigs);
    const entry = { ...wanted.entry, narInfo: { ...narInfo, sigs }, asserted: wanted.asserted };
    const again = async (lost: readonly Descriptor[]): Promise<PendingEntry> => {
      await copier.copyAgain(lost);
      return carried({ entry, blobs });
    };
    await writer.add(carried({ entry, blobs }, { stored, again }));
    count++;
  }
  return count;
}

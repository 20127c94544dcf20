/**
 * Pins: names that gc keeps a path under until they are removed. Each change is a record in a segment; the newest record
 * of a name counts, and all of them are its history. So two pins at once never lose one.
 *
 * What sets a pin also lists the whole closure again, without upload. A gc that is at work at the same time, and has not
 * seen the pin, may drop the path from where it was; it cannot drop it from there.
 */

import { type DueEntries, findDueEntries } from '../cache/write/asserted-entries.ts';
import { updateCacheIndex } from '../cache/write/cache-index.ts';
import { CacheWriter } from '../cache/write/cache-writer.ts';
import { carried } from '../cache/write/incoming.ts';
import { keepWhole } from '../cache/write/keep-whole.ts';
import type { Pin } from '../cache-index/records.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import { type BaseName, HASH_PART_LENGTH, type HashPart, hashPartOf, isHashPart } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { Catalog } from './catalog.ts';

export interface PinOptions extends CallOptions {
  readonly store: ContentStore;
  /** Of the same store, read strictly. */
  readonly catalog: Catalog;
  readonly creator: string;
  readonly sourceUrl?: string | undefined;
  readonly onWarning: (message: string) => void;
  readonly now: () => Date;
}

export interface PinChange {
  readonly name: string;
  /** What the name stands for now; undefined after its removal. */
  readonly path: BaseName | undefined;
  /** What it stood for before. */
  readonly before: BaseName | undefined;
  /** The segment that records it; undefined when there was nothing to change. */
  readonly segment: string | undefined;
}

/** Starts with a letter or digit, so that it is no flag and no path; 200 characters, as for roots. */
const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._+@:/~=-]{0,199}$/u;

/** @throws {NixcacheError} ERR_USAGE */
export function assertPinName(name: string): void {
  if (!NAME.test(name)) {
    throw new NixcacheError(
      'ERR_USAGE',
      `'${name}' cannot name a pin: begin with a letter or digit, and go on with those and . _ + - @ : / ~ =, up to 200 in all`,
    );
  }
  if (isHashPart(name.slice(0, HASH_PART_LENGTH)) && /^(?:-|$)/.test(name.slice(HASH_PART_LENGTH))) {
    throw new NixcacheError('ERR_USAGE', `'${name}' cannot name a pin: it reads like a store path`);
  }
}

/**
 * Points `name` at `path`, which must be in the cache.
 *
 * @throws {NixcacheError} ERR_USAGE, ERR_NOT_FOUND when a gc dropped the path meanwhile, and what a commit throws
 */
export async function setPin(name: string, path: BaseName, options: PinOptions): Promise<PinChange> {
  assertPinName(name);
  const { store, catalog, signal } = options;
  const { reader } = catalog;
  if (!reader.has(hashPartOf(path))) throw notThere(path, catalog);
  const before = current(name, catalog);
  if (before === path) return { name, path, before, segment: undefined };
  assertReadable(name, catalog);
  const closure = await findDueEntries({
    ...{ store, reader, hashParts: [hashPartOf(path)], signal },
    before: Number.POSITIVE_INFINITY,
  });
  try {
    const segment = await record({ name, path, time: timeOf(name, options) }, closure, options);
    return { name, path, before, segment };
  } catch (error) {
    // A gc has dropped it since we looked, longer ago than its grace period, and the registry its bytes.
    if (isNixcacheError(error, 'ERR_BLOB_UNKNOWN')) throw notThere(path, catalog, error);
    throw error;
  }
}

/** @throws {NixcacheError} ERR_NOT_FOUND when there is no such pin, and what a commit throws */
export async function removePin(name: string, options: PinOptions): Promise<PinChange> {
  const before = current(name, options.catalog);
  if (before === undefined) {
    throw noSuchPin(`remove pin ${name}`, options.catalog);
  }
  assertReadable(name, options.catalog);
  const segment = await record({ name, removed: true, time: timeOf(name, options) }, NOTHING, options);
  return { name, path: undefined, before, segment };
}

/** With those there are, for who has mistyped one. */
export function noSuchPin(what: string, { reader, currentPins }: Catalog): NixcacheError {
  const names = currentPins.slice(0, MAX_NAMED).map(({ name }) => name);
  const more = currentPins.length > names.length ? ' …' : '';
  const there = names.length === 0 ? 'has no pins' : `has no such pin, but ${names.join(', ')}${more}`;
  return new NixcacheError('ERR_NOT_FOUND', `${what}: ${reader.name} ${there}`);
}

const MAX_NAMED = 10;

const current = (name: string, { currentPins }: Catalog): BaseName | undefined =>
  currentPins.find((pin) => pin.name === name)?.path;

/** Now, in Unix seconds; later than all records of the name, by whatever clock those were written. */
function timeOf(name: string, { catalog, now }: PinOptions): number {
  let newest = Math.floor(now().getTime() / 1000);
  for (const pin of catalog.pins) if (pin.name === name) newest = Math.max(newest, pin.time + 1);
  return newest;
}

function assertReadable(name: string, { unreadable: [unreadable] }: Catalog): void {
  if (unreadable === undefined) return;
  // What the name stood for may be in what cannot be read: the new record could be older than that.
  throw new NixcacheError('ERR_INDEX', `pin ${name}: nothing was changed, since ${unreadable}`);
}

const NOTHING: DueEntries = { entries: [], closure: [] };

/** Commits the entries, references first, then the pin: the tag of the segment that holds it. */
async function record(pin: Pin, { entries, closure }: DueEntries, options: PinOptions): Promise<string> {
  const { store, catalog, creator, sourceUrl, signal, onWarning, now } = options;
  const { view, publicKeys, reader } = catalog;
  const { storeDir } = reader;
  const writer = new CacheWriter({ store, storeDir, creator, sourceUrl, now, signal });
  for (const { entry, blobs } of entries) {
    await writer.add(carried({ entry: { ...entry, asserted: undefined }, blobs }));
  }
  await writer.finish({ roots: [], pins: [pin] });
  const tag = writer.segments.at(-1)?.tag ?? '';
  const pushAgain = async ([lost]: readonly HashPart[]): Promise<void> => {
    throw new NixcacheError('ERR_NOT_FOUND', `a gc has dropped ${lost}, which ${pin.path} needs: publish it again`);
  };
  if (closure.length > 0) await keepWhole({ store, reader, writer, signal, relied: () => closure, pushAgain });
  const added = writer.segments.map(({ descriptor }) => descriptor);
  const update = { view, added, publicKeys: publicKeys.map(({ text }) => text), sourceUrl, now: now(), signal };
  await updateCacheIndex(store, update, onWarning);
  return tag;
}

const notThere = (path: BaseName, { reader }: Catalog, cause?: unknown): NixcacheError =>
  new NixcacheError(
    'ERR_NOT_FOUND',
    `pin ${path}: it is not in ${reader.name}; publish it first: nixcache push ${reader.storeDir}/${path}`,
    { cause },
  );

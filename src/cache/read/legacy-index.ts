/**
 * The index of cmspam/nixcache-oci: one JSON document with every narinfo in it, rewritten whole by each publish.
 *
 * Source: cmspam/nixcache-oci lib/cache-builder.sh at 6a4b9e4. Its NARs are blobs that nothing but this index names.
 */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import { type Entry, fileHashOf, narUrl, wholeBlob } from '../../cache-index/entry.ts';
import type { Root } from '../../cache-index/records.ts';
import { CACHE_INDEX_TAG } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import { parseNarInfo } from '../../nix/nar-info.ts';
import { sortPublicKeys } from '../../nix/signature.ts';
import { baseNameOf, type HashPart, hashPartOf, isHashPart, nameOf, type StorePath } from '../../nix/store-path.ts';
import type { ReadOnlyStore, StoredManifest } from '../../oci/content-store.ts';
import type { Descriptor } from '../../oci/descriptor.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import { sniffManifest } from '../../oci/layout/references.ts';
import { IMAGE_MANIFEST } from '../../oci/manifest.ts';
import { readBlob } from '../../oci/read-blob.ts';
import { type OnProblem, readError } from './problem.ts';

export interface LegacyIndex {
  readonly entries: readonly Entry[];
  /** Outputs that were built, over all time. */
  readonly roots: readonly HashPart[];
  readonly publicKeys: readonly string[];
  /** When it was last written, in Unix seconds; undefined if it does not say. */
  readonly generated: number | undefined;
}

/** 256 MiB: some 180 000 entries of 1.4 KB; the JSON is parsed whole. */
const MAX_INDEX_BYTES = 256 * 1024 * 1024;
/** Two million: of an entry five. */
const MAX_INDEX_VALUES = 2_000_000;
const VERSION = 1;

const indexSchema = z.object({
  version: z.optional(z.number()),
  generated: z.optional(z.string()),
  public_key: z.optional(z.string()),
  entries: z.record(z.string(), z.unknown()),
  gc_roots: z.optional(z.array(z.string())),
});
const entrySchema = z.object({
  narinfo: z.string(),
  nar_digest: z.string(),
  nar_size: z.number().check(z.int(), z.nonnegative()),
  added: z.optional(z.string()),
});

/**
 * Fetches and decodes the index that `manifest`, the holder of `cache-index`, points at.
 *
 * @throws {NixcacheError} ERR_INDEX, ERR_INDEX_VERSION, and the registry's errors
 */
export async function fetchLegacyIndex(
  store: ReadOnlyStore,
  manifest: StoredManifest,
  options: CallOptions & { readonly onProblem: OnProblem },
): Promise<{ readonly index: LegacyIndex; readonly bytes: number }> {
  const what = `index of the older cache ${store.name}`;
  const layer = legacyIndexOf(manifest);
  if (!layer) throw new Error(`${store.name} is no older cache`);
  try {
    const { signal } = options;
    const bytes = await readBlob(store, layer, { maxBytes: MAX_INDEX_BYTES, what, code: 'ERR_INDEX', signal });
    return { index: decodeLegacyIndex(bytes, what, options.onProblem), bytes: bytes.length };
  } catch (error) {
    throw readError(error, what);
  }
}

/** @throws {NixcacheError} ERR_INDEX, ERR_INDEX_VERSION, and what `onProblem` throws about an entry */
export function decodeLegacyIndex(bytes: Buffer, what: string, onProblem: OnProblem): LegacyIndex {
  const json = parse(
    () => indexSchema.parse(parseBoundedJson(bytes.toString('utf8'), { maxValues: MAX_INDEX_VALUES })),
    what,
  );
  if (json.version !== undefined && json.version > VERSION) {
    throw new NixcacheError(
      'ERR_INDEX_VERSION',
      `${what} is of version ${json.version}, this nixcache knows up to ${VERSION}: install a newer nixcache`,
    );
  }
  const entries: Entry[] = [];
  for (const [key, value] of Object.entries(json.entries)) {
    try {
      entries.push(parse(() => toEntry(key, value), `entry ${key} in the ${what}`));
    } catch (error) {
      onProblem({ part: 'entries', tag: CACHE_INDEX_TAG, error, warning: `${messageOf(error)}; it is left out` });
    }
  }
  const key = json.public_key?.trim() ?? '';
  return {
    entries,
    roots: (json.gc_roots ?? []).filter(isHashPart),
    // Shown to people only: a cache without a usable key is an unsigned one.
    publicKeys: sortPublicKeys(key === '' ? [] : [key]).keys.map(({ text }) => text),
    generated: secondsOf(json.generated),
  };
}

/** The roots of `index` as records of one publish, the same for everyone who reads this index. */
export function rootRecords(
  index: Pick<LegacyIndex, 'roots' | 'generated'>,
  digest: Digest,
  pathOf: (hashPart: HashPart) => StorePath | undefined,
): Root[] {
  const time = index.generated ?? 0;
  const run = `legacy-${digest}`;
  return index.roots.flatMap((hashPart) => {
    const path = pathOf(hashPart);
    return path === undefined ? [] : [{ name: nameOf(path), path: baseNameOf(path), time, run }];
  });
}

/** Made canonical: NAR hash in nix base-32, URL by file hash, FileHash and FileSize of the blob that is really there. */
function toEntry(key: string, value: unknown): Entry {
  const { narinfo, nar_digest: digest, nar_size: fileSize, added } = entrySchema.parse(value);
  if (!isDigest(digest)) throw new NixcacheError('ERR_FORMAT', `nar_digest '${digest}' is not a sha256 digest`);
  const { extra: _foreign, ...narInfo } = parseNarInfo(narinfo.endsWith('\n') ? narinfo : `${narinfo}\n`);
  if (hashPartOf(narInfo.path) !== key) throw new NixcacheError('ERR_FORMAT', `it is about ${narInfo.path}`);
  const fileHash = fileHashOf(digest);
  const asserted = secondsOf(added);
  return {
    narInfo: { ...narInfo, url: narUrl(fileHash, narInfo.compression), fileHash, fileSize },
    nar: [wholeBlob(digest, fileSize)],
    ...(asserted === undefined ? {} : { asserted }),
  };
}

/** `2026-04-25T10:00:00Z` */
function secondsOf(time: string | undefined): number | undefined {
  const ms = time === undefined ? Number.NaN : Date.parse(time);
  return ms >= 0 ? Math.floor(ms / 1000) : undefined;
}

function parse<T>(act: () => T, what: string): T {
  try {
    return act();
  } catch (cause) {
    throw new NixcacheError('ERR_INDEX', `${what} is damaged: ${messageOf(cause)}`, { cause });
  }
}

/** Media type of the JSON index. */
export const LEGACY_INDEX = 'application/vnd.nix.cache.index.v1+json';

/** The JSON index that `manifest`, the holder of the tag `cache-index`, points at; undefined for another layout. */
export function legacyIndexOf(manifest: StoredManifest): Descriptor | undefined {
  if (manifest.descriptor.mediaType !== IMAGE_MANIFEST) return undefined;
  return sniffManifest(manifest.bytes)?.blobs.find(({ mediaType }) => mediaType === LEGACY_INDEX);
}

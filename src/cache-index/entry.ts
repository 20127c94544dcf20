/**
 * One entry of the cache: a narinfo, and where its bytes lie.
 *
 * In an entries blob it is the narinfo as Nix writes it plus up to six fields of ours, which Nix would ignore and
 * which clients never get: NixcacheNar (extents of the compressed NAR, when that is not a blob of its own), NixcachePieces
 * (digests of the pieces of a large one), NixcacheListing (digest, then extents, of the zstd-compressed `.ls` listing),
 * NixcacheLeftOut (references that the publisher was told to leave out) and NixcacheAsserted (Unix seconds, written by
 * compaction; otherwise the segment's own time counts), NixcacheRealisations (of what derivations it is an output).
 */
import { NixcacheError } from '../errors.ts';
import { hashFromHex, hashToBase32, hashToHex, type NixHash } from '../nix/hash.ts';
import { formatNarInfo, type NarInfo, parseNarInfo } from '../nix/nar-info.ts';
import { formatRealisations, parseRealisations, type Realisation } from '../nix/realisation.ts';
import { type BaseName, baseNameOf } from '../nix/store-path.ts';
import { type Digest, digestFromHex, hexOf, isDigest } from '../oci/digest.ts';
import { type Extent, formatExtents, parseExtents, totalLength } from './extent.ts';

export interface Entry {
  /** Without our own fields; its URL is `nar/<file hash>.nar…`. */
  readonly narInfo: NarInfo & { readonly fileHash: NixHash; readonly fileSize: number };
  /** The compressed NAR; one extent over the whole of the blob named by its file hash, unless packed or in parts. */
  readonly nar: readonly Extent[];
  readonly listing?: ListingRef | undefined;
  /** References that its publisher left out on purpose; the cache may have them all the same by now. */
  readonly leftOut?: readonly BaseName[] | undefined;
  /** By which any range of a large NAR is checked without the rest; segments of earlier writers have none. */
  readonly pieces?: NarPieces | undefined;
  /** Which outputs of content-addressed derivations the path is; `outPath` of each is its own base name. */
  readonly realisations?: readonly Realisation[] | undefined;
  /** Unix seconds. */
  readonly asserted?: number | undefined;
}

/** A `.ls` listing, zstd-compressed. */
interface ListingRef {
  /** Of the compressed bytes, since a range of a pack has no digest of its own. */
  readonly digest: Digest;
  readonly extents: readonly Extent[];
}

/** Of each `pieceBytes` of the compressed NAR the first 16 bytes of the SHA-256, end to end. */
interface NarPieces {
  readonly pieceBytes: number;
  readonly digests: Uint8Array;
}

/** Wherever bytes of `entry` lie: the NAR's, then the listing's. */
export const extentsOf = ({ nar, listing }: Pick<Entry, 'nar' | 'listing'>): readonly Extent[] =>
  listing ? [...nar, ...listing.extents] : nar;

const NAR_FIELD = 'NixcacheNar';
const LISTING_FIELD = 'NixcacheListing';
const LEFT_OUT_FIELD = 'NixcacheLeftOut';
const PIECES_FIELD = 'NixcachePieces';
const ASSERTED_FIELD = 'NixcacheAsserted';
const REALISATIONS_FIELD = 'NixcacheRealisations';

const EXTENSIONS: Readonly<Record<string, string>> = {
  none: '',
  zstd: '.zst',
  xz: '.xz',
  gzip: '.gz',
  br: '.br',
  bzip2: '.bz2',
};

/** `nar/<file hash>.nar.zst`: the file hash is the OCI digest of the compressed NAR. */
export const narUrl = (fileHash: NixHash, compression: string): string =>
  `nar/${hashToBase32(fileHash)}.nar${EXTENSIONS[compression] ?? `.${compression}`}`;

/** An OCI digest and a Nix file hash are two spellings of the same 32 bytes. */
export const digestOfFile = (fileHash: NixHash): Digest => digestFromHex(hashToHex(fileHash));
export const fileHashOf = (digest: Digest): NixHash => hashFromHex(hexOf(digest));

/** The extent of a NAR that is a blob of its own. */
export const wholeBlob = (digest: Digest, length: number): Extent => ({ digest, offset: 0, length });

const isOwnBlob = (entry: Entry): boolean => {
  const [only, ...more] = entry.nar;
  if (only === undefined || more.length > 0) return false;
  const { fileHash, fileSize } = entry.narInfo;
  return only.offset === 0 && only.length === fileSize && only.digest === digestOfFile(fileHash);
};

/** The text of `entry` in an entries blob. */
export function formatEntry(entry: Entry): string {
  let text = formatNarInfo(entry.narInfo);
  if (!isOwnBlob(entry)) text += `${NAR_FIELD}: ${formatExtents(entry.nar)}\n`;
  if (entry.listing) text += `${LISTING_FIELD}: ${entry.listing.digest} ${formatExtents(entry.listing.extents)}\n`;
  if (entry.leftOut && entry.leftOut.length > 0) text += `${LEFT_OUT_FIELD}: ${entry.leftOut.join(' ')}\n`;
  if (entry.pieces) text += `${PIECES_FIELD}: ${formatPieces(entry.pieces)}\n`;
  if (entry.realisations && entry.realisations.length > 0) {
    text += `${REALISATIONS_FIELD}: ${formatRealisations(entry.realisations)}\n`;
  }
  if (entry.asserted !== undefined) text += `${ASSERTED_FIELD}: ${entry.asserted}\n`;
  return text;
}

/**
 * Parses what `formatEntry` wrote.
 *
 * @throws {NixcacheError} ERR_FORMAT
 */
export function parseEntry(text: string, storeDir: string): Entry {
  const { extra, ...narInfo } = parseNarInfo(text, storeDir);
  const { fileHash, fileSize } = narInfo;
  if (fileHash === undefined || fileSize === undefined) {
    throw new NixcacheError('ERR_FORMAT', `entry ${narInfo.path} has no FileHash or no FileSize`);
  }
  const nar = extra?.get(NAR_FIELD);
  const listing = extra?.get(LISTING_FIELD);
  const leftOut = extra?.get(LEFT_OUT_FIELD);
  const pieces = parsePieces(extra?.get(PIECES_FIELD), fileSize);
  const asserted = extra?.get(ASSERTED_FIELD);
  const realisations = realisationsIn(extra?.get(REALISATIONS_FIELD), narInfo);
  const extents = nar === undefined ? [wholeBlob(digestOfFile(fileHash), fileSize)] : parseExtents(nar);
  if (totalLength(extents) !== fileSize) {
    throw new NixcacheError(
      'ERR_FORMAT',
      `entry ${narInfo.path}: its extents are not FileSize, ${fileSize} bytes, long`,
    );
  }
  return {
    narInfo: { ...narInfo, fileHash, fileSize },
    nar: extents,
    ...(listing === undefined ? {} : { listing: parseListing(listing) }),
    ...(leftOut === undefined ? {} : { leftOut: parseLeftOut(leftOut, narInfo) }),
    ...(pieces && { pieces }),
    ...(realisations && { realisations }),
    ...(asserted === undefined ? {} : { asserted: parseSeconds(asserted) }),
  };
}

function parseListing(text: string): ListingRef {
  const space = text.indexOf(' ');
  const digest = text.slice(0, Math.max(space, 0));
  if (!isDigest(digest)) throw new NixcacheError('ERR_FORMAT', `'${text}' is not a digest and extents`);
  return { digest, extents: parseExtents(text.slice(space + 1)) };
}

/** Only what the entry refers to can have been left out of its closure; the rest says nothing. */
const parseLeftOut = (text: string, { references }: Pick<NarInfo, 'references'>): readonly BaseName[] => {
  const names = new Set(text.split(' '));
  return references.filter((reference) => names.has(reference));
};

/** Undefined for what is malformed or about another path: clients are the worse by a build. */
function realisationsIn(text: string | undefined, { path }: Pick<NarInfo, 'path'>): readonly Realisation[] | undefined {
  const outPath = baseNameOf(path);
  const own = (text === undefined ? undefined : parseRealisations(text))?.filter((each) => each.outPath === outPath);
  return own && own.length > 0 ? own : undefined;
}

/** The realisations that the texts of `entries` hold: the id of each, and the byte offset of a line in its entry. */
export function* realisationsOf(entries: Buffer): Generator<{ readonly id: string; readonly offset: number }> {
  for (let at = entries.indexOf(REALISATIONS_LINE); at >= 0; at = entries.indexOf(REALISATIONS_LINE, at + 1)) {
    const start = at + REALISATIONS_LINE.length;
    const json = entries.toString('utf8', start, entries.indexOf('\n', start));
    for (const { id } of parseRealisations(json) ?? []) yield { id, offset: at };
  }
}

const REALISATIONS_LINE = Buffer.from(`\n${REALISATIONS_FIELD}: `);
const DIGEST_BYTES = 16;
/** A reader holds back a piece of each stream. */
const MAX_PIECE_BYTES = 8 * 1024 * 1024;
const MIN_PIECE_BYTES = 64 * 1024;

const formatPieces = ({ pieceBytes, digests }: NarPieces): string =>
  `${pieceBytes} ${Buffer.from(digests).toString('base64')}`;

/** Undefined for what does not describe `fileSize` bytes: then the whole is checked, as where nothing is said. */
function parsePieces(text: string | undefined, fileSize: number): NarPieces | undefined {
  const [, size, encoded = ''] = /^([1-9][0-9]{0,8}) ([0-9A-Za-z+/]+={0,2})$/.exec(text ?? '') ?? [];
  const pieceBytes = Number(size);
  if (!(pieceBytes >= MIN_PIECE_BYTES && pieceBytes <= MAX_PIECE_BYTES)) return undefined;
  const digests = Buffer.from(encoded, 'base64');
  return digests.length === Math.ceil(fileSize / pieceBytes) * DIGEST_BYTES ? { pieceBytes, digests } : undefined;
}

/** Anything else must not read as "long ago": gc would drop the entry. */
function parseSeconds(text: string): number {
  if (!/^[0-9]{1,12}$/.test(text)) throw new NixcacheError('ERR_FORMAT', `'${text}' is not a time in seconds`);
  return Number(text);
}

/** What a client gets of an entry's text: the same without our own fields. */
export const clientText = (text: string): string =>
  text.includes('\nNixcache') ? text.replaceAll(/^Nixcache[A-Za-z]*: .*\n/gm, '') : text;

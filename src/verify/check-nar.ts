/** Whether one compressed NAR is what its entry says, from its file hash to its listing. */
import { type Readable, Transform } from 'node:stream';
import type { Entry } from '../cache-index/entry.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import { decompress } from '../nar/decompress.ts';
import { type NarNode, parseNarListing, unpackNarListing } from '../nar/nar-listing.ts';
import { type NarSummary, verifyNar } from '../nar/nar-reader.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { untilIntact } from '../oci/read-blob.ts';
import { PieceDigester } from '../streams/pieces.ts';
import { readThrough } from '../streams/verify.ts';

export interface NarSource {
  /** The compressed NAR, ending in ERR_DIGEST_MISMATCH unless it has its file hash. */
  open(): Promise<Readable>;
  /** The compressed listing, of the right digest; undefined if none was published. */
  fetchListing(): Promise<Buffer | undefined>;
}

/** Undefined: as it should be. */
export interface NarFault {
  /**
   * `lost`: not there. `corrupt`: not what the file hash says. `mismatch`: not what the narinfo says. Else the NAR is right,
   * and what goes with it is not: `listing`, or `pieces`, the digests of its pieces.
   */
  readonly kind: 'lost' | 'corrupt' | 'mismatch' | 'listing' | 'pieces';
  readonly message: string;
}

/** @throws {NixcacheError} what says nothing about the NAR: no network, an abort */
export async function checkNar({ narInfo, pieces }: Entry, content: NarSource): Promise<NarFault | undefined> {
  const { narSize, narHash } = narInfo;
  const { source, arePiecesRight } = digested(content, pieces);
  let summary: NarSummary;
  try {
    summary = await untilIntact(() => readNar(narInfo, source));
  } catch (error) {
    const message = messageOf(error);
    if (isNixcacheError(error, 'ERR_NOT_FOUND')) return { kind: 'lost', message };
    if (isNixcacheError(error, 'ERR_DIGEST_MISMATCH', 'ERR_RANGE')) return { kind: 'corrupt', message };
    if (isNixcacheError(error, 'ERR_FORMAT')) return { kind: 'mismatch', message };
    throw error;
  }
  if (summary.narHash !== narHash) return { kind: 'mismatch', message: `its NAR hash is ${summary.narHash}` };
  if (summary.narSize !== narSize) return { kind: 'mismatch', message: `its NAR has ${summary.narSize} bytes` };
  if (!arePiecesRight()) return { kind: 'pieces', message: 'the digests of its pieces are not of its bytes' };
  return checkListing(summary.listing, source);
}

/** `content`, and whether what was read of it last, to its end, has the digests in `pieces`. */
function digested(
  content: NarSource,
  pieces: Entry['pieces'],
): { readonly source: NarSource; readonly arePiecesRight: () => boolean } {
  if (pieces === undefined) return { source: content, arePiecesRight: () => true };
  let digester = new PieceDigester(pieces.pieceBytes);
  const open = async (): Promise<Readable> => {
    const reading = new PieceDigester(pieces.pieceBytes);
    digester = reading;
    return readThrough(await content.open(), passingTo(reading));
  };
  return {
    source: { open, fetchListing: () => content.fetchListing() },
    arePiecesRight: () => Buffer.compare(digester.finish().digests, pieces.digests) === 0,
  };
}

/** Hands on what `digester` has seen. */
const passingTo = (digester: PieceDigester): Transform =>
  new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      digester.update(chunk);
      callback(null, chunk);
    },
  });

async function readNar({ compression, narSize }: NarInfo, source: NarSource): Promise<NarSummary> {
  const read = async (): Promise<NarSummary> =>
    verifyNar(decompress(await source.open(), compression, narSize), { withListing: true });
  try {
    return await read();
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
    // It broke before its hash was known: read on to tell other bytes from bytes that were wrong from the start.
    for await (const _ of await source.open());
    return read();
  }
}

async function checkListing(listing: NarNode | undefined, source: NarSource): Promise<NarFault | undefined> {
  if (listing === undefined) return undefined; // of more files than a listing may have: there is nothing to compare with
  const fault = (what: string): NarFault => ({ kind: 'listing', message: `its listing ${what}` });
  try {
    const packed = await source.fetchListing();
    if (!packed) return undefined;
    const text = unpackNarListing(packed).toString('utf8');
    const published = parseNarListing(text);
    return sameNode(published, listing) ? undefined : fault('is not of what the NAR holds');
  } catch (error) {
    const isContent = isNixcacheError(error, 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH', 'ERR_RANGE', 'ERR_FORMAT');
    if (!isContent && isNixcacheError(error)) throw error;
    return fault(`cannot be read: ${messageOf(error)}`);
  }
}

/** Offsets may be left out of a published listing. NARs are at most 64 levels deep. */
function sameNode(published: NarNode, real: NarNode): boolean {
  if (published.type === 'symlink') return real.type === 'symlink' && published.target === real.target;
  if (published.type === 'regular') {
    return (
      real.type === 'regular' &&
      published.size === real.size &&
      published.executable === real.executable &&
      (published.narOffset ?? real.narOffset) === real.narOffset
    );
  }
  if (real.type !== 'directory' || published.entries.size !== real.entries.size) return false;
  return [...published.entries].every(([name, node]) => {
    const other = real.entries.get(name);
    return other !== undefined && sameNode(node, other);
  });
}

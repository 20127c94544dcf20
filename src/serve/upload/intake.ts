/** Takes uploads in: checks them, and has them kept. What resolves here is safe, and is served. */
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import type { Entry } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf } from '../../errors.ts';
import { formatNarListing, parseNarListing } from '../../nar/nar-listing.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { PathInfo } from '../../nix/path-info.ts';
import {
  formatRealisations,
  isSameRealisation,
  mergeRealisations,
  parseRealisation,
  type Realisation,
  signRealisation,
} from '../../nix/realisation.ts';
import { isSameSigned } from '../../nix/signature.ts';
import { baseNameOf, type HashPart, hashPartOf } from '../../nix/store-path.ts';
import type { FirstLoad } from '../index-refresher.ts';
import { Slots } from '../slots.ts';
import {
  type ClaimedPath,
  canonical,
  checkNar,
  faultOfSignatures,
  isKnownSignature,
  readClaim,
  type SigningPolicy,
  signaturesFor,
  wrong,
} from './check-nar-info.ts';
import type { HeldNar } from './held-nars.ts';
import type { NarName } from './nar-names.ts';
import { receiveNar, type UnpackedNar, unpack } from './receive-nar.ts';
import { UploadError } from './upload-error.ts';
import type { Uploads } from './uploads.ts';
import { openSpooled } from './with-uploads.ts';

export interface IntakeOptions extends SigningPolicy {
  readonly uploads: Uploads;
  /** The cache with what was uploaded. */
  readonly reader: Pick<CacheReader, 'findEntry' | 'findNarFile' | 'openNar'>;
  /** Whether an entry is served. */
  readonly isServed: (narInfo: Entry['narInfo']) => boolean;
  readonly storeDir: () => string;
  /** What the cache has is not known before it was read. */
  readonly firstLoad: FirstLoad;
}

export interface IncomingBody {
  readonly body: AsyncIterable<Uint8Array>;
  readonly contentLength: number | undefined;
}

/** NARs that are taken in, or unpacked, at once: each has a file and a decoder, and an xz one a process. Others wait. */
const MAX_NARS = 32;
/** Of one path: derivations that came out the same. Readers take up to 20 000 JSON values. */
const MAX_REALISATIONS = 1000;
const MAX_REALISATIONS_BYTES = 4 * 1024 * 1024;
/** Small files at once. */
const MAX_SMALL = 256;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #slots = { nars: new Slots(MAX_NARS), small: new Slots(MAX_SMALL) };

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Waits until a body may be read. What this gives is to be called at the end. */
  begin(kind: 'nars' | 'small', options: CallOptions): Promise<() => void> {
    return this.#slots[kind].take(options);
  }

  /** @throws {UploadError}; {NixcacheError} ERR_IO */
  async takeNar(nar: NarName, { body, contentLength }: IncomingBody): Promise<HeldNar> {
    const { uploads } = this.#options;
    const file = await uploads.spool.create(contentLength ?? 0);
    try {
      return await uploads.keepNar(nar, file, await receiveNar(body, nar, { file, contentLength }));
    } finally {
      await file.discard();
    }
  }

  /** @throws {UploadError}; {NixcacheError} ERR_IO */
  async takeNarInfo(bytes: Buffer, hashPart: HashPart, options: CallOptions): Promise<void> {
    const { info, nar } = readClaim(bytes, hashPart, this.#options.storeDir());
    const sigs = signaturesFor(info, this.#options);
    const { uploads } = this.#options;
    await this.#options.firstLoad()?.(options);
    await uploads.inTurn(hashPart, () =>
      // Another path with the same file may be let go of meanwhile, and takes it along unless this says that it needs it.
      uploads.nars.using(nar.name, () => this.#takePath({ info, nar }, sigs, options)),
    );
  }

  /** A listing is made here of the NAR itself; what is sent is only looked at. @throws {UploadError} */
  takeListing(bytes: Buffer): void {
    try {
      formatNarListing(parseNarListing(bytes.toString('utf8')));
    } catch (cause) {
      throw new UploadError(400, messageOf(cause), { cause });
    }
  }

  /** @throws {UploadError}; {NixcacheError} ERR_IO */
  async takeRealisation(bytes: Buffer, id: string, options: CallOptions): Promise<void> {
    const { uploads, firstLoad } = this.#options;
    const realisation = this.#signed(readRealisation(bytes, id));
    await firstLoad()?.(options);
    // Two that name different paths must not both find that there is none.
    await uploads.inTurn(id, async () => {
      await this.#checkOutPath(realisation, options);
      await uploads.inTurn(hashPartOf(realisation.outPath), () => this.#takeRealisation(realisation));
    });
  }

  /** @throws {UploadError} when another path is served as this output, which stays, or that is not known */
  async #checkOutPath({ id, outPath }: Realisation, options: CallOptions): Promise<void> {
    const served = await this.#options.uploads.findRealisation(id, options);
    if (served !== undefined && served !== 'unknown' && served.outPath !== outPath) {
      throw new UploadError(
        409,
        `the realisation ${id} is ${served.outPath} already, and ${outPath} does not replace it`,
      );
    }
  }

  async #takeRealisation(realisation: Realisation): Promise<void> {
    const { trust } = this.#options;
    const { id, outPath, signatures } = realisation;
    const hashPart = hashPartOf(outPath);
    const entry = await this.#servedOf(hashPart);
    if (entry === undefined || baseNameOf(entry.narInfo.path) !== outPath)
      throw new UploadError(
        409,
        `the realisation ${id} names ${outPath}, which is not in the cache: upload that first`,
      );
    const before = entry.realisations ?? [];
    const had = before.find((each) => each.id === id);
    if (had !== undefined && trust.allowsRealisation(had)) {
      // What is served stays, also as to what it relies on; it gains signatures.
      if (!isSameRealisation(had, realisation) || signatures.every((sig) => had.signatures.includes(sig))) return;
    }
    const realisations = mergeRealisations([before, [realisation]]);
    checkSize(realisations, realisation.id);
    if (realisations.length > MAX_REALISATIONS)
      throw new UploadError(400, `${outPath} has ${MAX_REALISATIONS} realisations already`);
    await this.#change(hashPart, entry.narInfo, { realisations });
  }

  async #takePath({ info, nar }: ClaimedPath, sigs: readonly string[], options: CallOptions): Promise<void> {
    const { uploads } = this.#options;
    const hashPart = hashPartOf(info.path);
    if (await this.#addSignatures(info, sigs)) return;
    const { held, unpacked } = await this.#findNar(nar, info, options);
    checkNar(info, held.fileSize, unpacked);
    await this.#checkReferences(info, options);
    // What is served stays: others may have it already, and rely on it.
    if (await this.#servedOf(hashPart)) return;
    // One that is away for hours keeps nobody from uploading: what it may have is not served meanwhile.
    const answer = await uploads.findUpstream(hashPart, options);
    const far = answer === 'unknown' ? undefined : answer;
    if (far !== undefined && !isSameSigned(far, info)) return;
    await uploads.keepPath({
      // Who trusts the upstream's keys alone still gets it.
      narInfo: canonical(info, nar, held.fileSize, [...new Set([...(far?.sigs ?? []), ...sigs])]),
      nar: nar.name,
      listing: unpacked.listing,
      realisations: uploads.pending.get(hashPart)?.realisations ?? [],
      receivedAt: uploads.now(),
    });
  }

  /** Whether it is there already: then it gains `sigs`. */
  async #addSignatures(info: NarInfo, sigs: readonly string[]): Promise<boolean> {
    const hashPart = hashPartOf(info.path);
    const served = await this.#servedOf(hashPart);
    if (served === undefined || served.narInfo.path !== info.path || !isSameSigned(served.narInfo, info)) return false;
    const all = [...new Set([...served.narInfo.sigs, ...sigs])];
    if (all.length === served.narInfo.sigs.length) return true;
    // What is known to be right is taken however much there is that nobody can check.
    const unknown = (): string[] => all.filter((sig) => !isKnownSignature(info, sig, this.#options));
    const fault = faultOfSignatures(all) && faultOfSignatures(unknown());
    if (fault !== undefined) throw wrong(`with those that it has already, ${fault}`);
    await this.#change(hashPart, { ...served.narInfo, sigs: all }, {});
    return true;
  }

  /** What is served of a path. */
  async #servedOf(hashPart: HashPart): Promise<Entry | undefined> {
    const { reader, isServed, uploads } = this.#options;
    const entry = await reader.findEntry(hashPart);
    if (entry === undefined || !isServed(entry.narInfo)) return undefined;
    const nar = uploads.pending.get(hashPart)?.nar;
    // Of one whose file was lost nothing is there that could be relied on.
    return nar === undefined || (await uploads.nars.isThere(nar)) ? entry : undefined;
  }

  /** Keeps what is new of a path that is uploaded, or in the cache. */
  async #change(
    hashPart: HashPart,
    narInfo: Entry['narInfo'],
    { realisations }: { readonly realisations?: readonly Realisation[] },
  ): Promise<void> {
    const { uploads } = this.#options;
    const pending = uploads.pending.get(hashPart);
    const record = pending && (await uploads.readRecord(hashPart));
    await uploads.keepPath({
      nar: undefined,
      listing: undefined,
      receivedAt: uploads.now(),
      ...record,
      narInfo,
      realisations: realisations ?? record?.realisations ?? [],
    });
  }

  /** The NAR that `info` names, and what is in it: uploaded, or in the cache, out of which it is then taken. */
  async #findNar(nar: NarName, info: NarInfo, options: CallOptions): Promise<{ held: HeldNar; unpacked: UnpackedNar }> {
    const { uploads } = this.#options;
    const known = (await uploads.nars.isThere(nar.name)) ? uploads.nars.get(nar.name) : undefined;
    const held = known ?? (await this.#copyNar(nar, options));
    held.receivedAt = uploads.now(); // it does not expire while this looks at it
    const seen = uploads.nars.unpacked(nar.name);
    if (seen !== undefined) return { held, unpacked: seen };
    const release = await this.#slots.nars.take(options);
    try {
      const method = nar.compression ?? info.compression;
      const unpacked = await unpack(await openSpooled(uploads.spool, nar.name, held, options), method);
      uploads.nars.rememberUnpacked(nar.name, unpacked);
      return { held, unpacked };
    } finally {
      release();
    }
  }

  /** Another path of the cache may have the same file, which then was not sent. */
  async #copyNar(nar: NarName, options: CallOptions): Promise<HeldNar> {
    const { reader } = this.#options;
    const file = await reader.findNarFile(nar.fileHash);
    if (file === undefined) throw new UploadError(409, `its NAR, nar/${nar.name}, was not uploaded: send that first`);
    const release = await this.#slots.nars.take(options);
    try {
      const body = await reader.openNar(file.entry, options);
      return await this.takeNar(nar, { body, contentLength: file.size });
    } catch (cause) {
      if (cause instanceof UploadError || !isNixcacheError(cause)) throw cause;
      throw new UploadError(409, `its NAR, nar/${nar.name}, cannot be had out of the cache: send it again`, { cause });
    } finally {
      release();
    }
  }

  /** A cache never has a path without what it refers to. */
  async #checkReferences({ path, references }: NarInfo, options: CallOptions): Promise<void> {
    const own = hashPartOf(path);
    for (const reference of references) {
      const hashPart = hashPartOf(reference);
      if (hashPart === own) {
        if (reference !== baseNameOf(path))
          throw wrong(`it refers to ${reference}, which has its hash and another name`);
        continue;
      }
      const found = (await this.#servedOf(hashPart))?.narInfo ?? (await this.#findUpstream(hashPart, options));
      if (found === undefined) {
        throw new UploadError(
          409,
          `${path} refers to ${reference}, which neither this cache nor its upstreams have: upload that first`,
        );
      }
      const name = baseNameOf(found.path);
      if (name !== reference) throw wrong(`it refers to ${reference}, and what has that hash is called ${name}`);
    }
  }

  /** @throws {UploadError} when it is not known whether an upstream has it */
  async #findUpstream(hashPart: HashPart, options: CallOptions): Promise<PathInfo | undefined> {
    const found = await this.#options.uploads.findUpstream(hashPart, options);
    if (found !== 'unknown') return found;
    throw new UploadError(503, `an upstream does not say whether it has ${hashPart}: try again when it answers`);
  }

  #signed(claimed: Realisation): Realisation {
    const { trust, keys } = this.#options;
    const signed = signRealisation(claimed, keys);
    if (trust.isOn ? trust.allowsRealisation(signed) : signed.signatures.length > 0) return signed;
    throw new UploadError(
      400,
      `the realisation ${claimed.id} is not signed by anybody whom this server trusts, and it has no key of its own for that`,
    );
  }
}

/** All those of a path stay in memory while they wait. */
function checkSize(realisations: readonly Realisation[], id: string): void {
  const fault = faultOfSignatures(realisations.find((each) => each.id === id)?.signatures ?? []);
  if (fault !== undefined) throw new UploadError(400, `the realisation ${id} is refused: ${fault}`);
  if (formatRealisations(realisations).length > MAX_REALISATIONS_BYTES)
    throw new UploadError(400, `the realisations of a path have at most ${MAX_REALISATIONS_BYTES} bytes`);
}

function readRealisation(bytes: Buffer, id: string): Realisation {
  try {
    return parseRealisation(bytes.toString('utf8'), id);
  } catch (cause) {
    throw new UploadError(400, messageOf(cause), { cause });
  }
}

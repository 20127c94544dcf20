/** What an uploaded narinfo has to be, so that no client is harmed by it; what is wrong is said to whoever uploads. */

import { narUrl } from '../../cache-index/entry.ts';
import { messageOf } from '../../errors.ts';
import { hashPartOfAddress } from '../../nix/content-address.ts';
import { formatNarInfo, MAX_NAR_INFO_BYTES, type NarInfo, parseNarInfo } from '../../nix/nar-info.ts';
import { findSigner, isSignature, type SecretKey, signaturesOf } from '../../nix/signature.ts';
import { type HashPart, hashPartOf } from '../../nix/store-path.ts';
import { faultOf } from '../nar-info-faults.ts';
import type { Trust } from '../trust.ts';
import { type NarName, parseNarUrl } from './nar-names.ts';
import type { UnpackedNar } from './receive-nar.ts';
import { UploadError } from './upload-error.ts';

/** Of one path; each costs whoever checks it, and Nix itself makes a handful. */
const MAX_SIGNATURES = 64;
/** Characters. */
const MAX_KEY_NAME = 256;
/** 128 KiB for all of a path, which stay in memory: one of the longest scheme has half of that, and Ed25519's have 100 bytes. */
const MAX_SIGNATURES_BYTES = 128 * 1024;

/** What is wrong with so many signatures, or such; undefined: nothing. */
export function faultOfSignatures(sigs: readonly string[]): string | undefined {
  if (sigs.length > MAX_SIGNATURES) return `it has more than ${MAX_SIGNATURES} signatures`;
  if (!sigs.every(isSignature)) return 'one of its signatures is no NAME:BASE64';
  if (sigs.some((sig) => sig.indexOf(':') > MAX_KEY_NAME))
    return `a signature names a key with more than ${MAX_KEY_NAME} characters`;
  if (sigs.reduce((sum, { length }) => sum + length, 0) > MAX_SIGNATURES_BYTES)
    return `its signatures have more than ${MAX_SIGNATURES_BYTES} bytes`;
  return undefined;
}

export interface ClaimedPath {
  readonly info: NarInfo;
  readonly nar: NarName;
}

/**
 * What `bytes`, uploaded as the narinfo of `hashPart`, say.
 *
 * @throws {UploadError}
 */
export function readClaim(bytes: Buffer, hashPart: HashPart, storeDir: string): ClaimedPath {
  const { extra: _foreign, ...info } = parse(bytes, storeDir);
  if (hashPartOf(info.path) !== hashPart)
    throw wrong(`it is about ${info.path}, and was uploaded as ${hashPart}.narinfo`);
  const nar = parseNarUrl(info.url);
  if (nar === undefined)
    throw wrong(`its URL ${info.url} is not that of an uploaded NAR, nar/<hash of the file>.nar and an ending`);
  if (info.fileHash !== undefined && info.fileHash !== nar.fileHash) throw wrong('its FileHash is not that of its URL');
  const fault = faultOfSignatures(info.sigs) ?? faultOf(info, formatNarInfo(info));
  if (fault !== undefined) throw wrong(fault);
  checkAddress(info);
  return { info, nar };
}

function parse(bytes: Buffer, storeDir: string): NarInfo {
  if (bytes.length > MAX_NAR_INFO_BYTES)
    throw new UploadError(413, `a narinfo has at most ${MAX_NAR_INFO_BYTES} bytes`);
  try {
    return parseNarInfo(new TextDecoder('utf-8', { fatal: true }).decode(bytes), storeDir);
  } catch (cause) {
    const why = cause instanceof TypeError ? 'a narinfo is UTF-8, and this is not' : messageOf(cause);
    throw new UploadError(400, why, { cause });
  }
}

/** An address that is not its path's makes every Nix abort. */
function checkAddress(info: NarInfo): void {
  const { ca, narHash, references, path } = info;
  if (ca === undefined) return;
  if (hashPartOfAddress(ca, info) !== hashPartOf(path)) throw wrong(`its CA ${ca} is not that of its path`);
  const isSelf = references.some((reference) => hashPartOf(reference) === hashPartOf(path));
  if (ca.startsWith('fixed:r:sha256:') && !isSelf && ca !== `fixed:r:${narHash}`) {
    throw wrong('its NarHash is not what its CA says');
  }
}

/** @throws {UploadError} when the NAR that was uploaded is not what `info` says */
export function checkNar(info: NarInfo, fileSize: number, unpacked: UnpackedNar): void {
  const { compression, narHash, narSize } = unpacked;
  if (info.fileSize !== undefined && info.fileSize !== fileSize) {
    throw wrong(`its FileSize is ${info.fileSize}, and the uploaded file has ${fileSize} bytes`);
  }
  if (info.compression !== compression)
    throw wrong(`its Compression is ${info.compression}, and the file's is ${compression}`);
  if (info.narSize !== narSize) throw wrong(`its NarSize is ${info.narSize}, and the NAR has ${narSize} bytes`);
  if (info.narHash !== narHash) throw wrong(`its NarHash is ${info.narHash}, and that of the NAR is ${narHash}`);
}

export interface SigningPolicy {
  readonly trust: Trust;
  /** The server's own, which sign what is uploaded. */
  readonly keys: readonly SecretKey[];
}

/**
 * The signatures that `info` is to have.
 *
 * @throws {UploadError} when nobody vouches for it
 */
export function signaturesFor(info: NarInfo, { trust, keys }: SigningPolicy): readonly string[] {
  const sigs = signaturesOf(info, keys);
  if (trust.isOn) {
    if (trust.allows({ ...info, sigs })) return sigs;
    const why = keys.length > 0 ? 'its own key is not among those that it trusts' : NO_KEY;
    throw wrong(`no key that this server trusts has signed it, and ${why}: ${HOW_TO_SIGN}`);
  }
  // Also for what is named by its contents, which Nix would take: of most of it a NAR hash does not show that it is so.
  if (sigs.length > 0) return sigs;
  throw wrong(`nobody has signed it, and ${NO_KEY}: ${HOW_TO_SIGN}, or start nixcache serve with --key-file`);
}

/** Whether `sig` of `info` is known to be right: by the server's own key, or one that it trusts. */
export const isKnownSignature = (info: NarInfo, sig: string, { trust, keys }: SigningPolicy): boolean =>
  (trust.isOn && trust.allows({ ...info, sigs: [sig] })) ||
  findSigner(
    { ...info, sigs: [sig] },
    keys.map((key) => key.publicKey),
  ) !== undefined;

const NO_KEY = 'the server has no key of its own to sign it with';
const HOW_TO_SIGN = 'sign it first (nix store sign --key-file FILE, or the parameter secret-key=FILE in the URL)';

/** As readers get it: what nobody signs is ours to say. */
export const canonical = (info: NarInfo, nar: NarName, fileSize: number, sigs: readonly string[]) => ({
  ...info,
  sigs,
  fileSize,
  fileHash: nar.fileHash,
  url: narUrl(nar.fileHash, info.compression),
});

export const wrong = (what: string): UploadError => new UploadError(400, `the narinfo is refused: ${what}`);

/** What a narinfo that can be parsed may still be unfit for. */
import { MAX_NAR_INFO_BYTES, type NarInfo } from '../nix/nar-info.ts';

/** Why `narInfo`, whose `text` clients would get, is not served; undefined when nothing speaks against it. */
export function faultOf(narInfo: NarInfo, text: string): string | undefined {
  const { compression, fileHash, fileSize, narHash, narSize } = narInfo;
  if (text.length > MAX_NAR_INFO_BYTES) return `it is longer than ${MAX_NAR_INFO_BYTES} bytes`;
  if (compression !== 'none') return undefined;
  // The file is the NAR itself.
  if (fileHash !== undefined && fileHash !== narHash)
    return `its FileHash is not its NarHash, and nothing is compressed`;
  if (fileSize !== undefined && fileSize !== narSize)
    return `its FileSize is not its NarSize, and nothing is compressed`;
  return undefined;
}

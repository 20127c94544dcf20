import type { NixHash } from './hash.ts';
import type { BaseName, StorePath } from './store-path.ts';

/** What a Nix store records about one valid path. */
export interface PathInfo {
  readonly path: StorePath;
  /** Hash of the NAR serialisation. */
  readonly narHash: NixHash;
  /** Bytes of the NAR serialisation. */
  readonly narSize: number;
  /** Base names, sorted; includes the path itself where it refers to itself. */
  readonly references: readonly BaseName[];
  /** Base name of the derivation that built it, if known. */
  readonly deriver?: BaseName;
  /** `keyName:base64`, in the store's order. */
  readonly sigs: readonly string[];
  /** Content address, for instance `fixed:r:sha256:…`, of paths that need no signature. */
  readonly ca?: string;
}

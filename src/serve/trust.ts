import { type BuildTraceEntry, isBuildTraceSigned } from '../nix/build-trace.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { isRealisationSigned, type Realisation } from '../nix/realisation.ts';
import { findSigner, type PublicKey } from '../nix/signature.ts';

/** Whether a path may be served: one of the trusted keys signed it, whatever names it, or no keys are asked for. */
export class Trust {
  readonly #keys: readonly PublicKey[];

  constructor(keys: readonly PublicKey[]) {
    this.#keys = keys;
  }

  get isOn(): boolean {
    return this.#keys.length > 0;
  }

  /** The same of which path an output is. */
  allowsRealisation(realisation: Realisation): boolean {
    return !this.isOn || isRealisationSigned(realisation, this.#keys);
  }

  allowsBuildTrace(entry: BuildTraceEntry): boolean {
    return !this.isOn || isBuildTraceSigned(entry, this.#keys);
  }

  /** Verifies: 0.1 ms, so whoever asks often keeps the answer. */
  allows(info: PathInfo): boolean {
    return !this.isOn || findSigner(info, this.#keys) !== undefined;
  }
}

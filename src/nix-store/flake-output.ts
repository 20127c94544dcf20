/** What a flake, or a Nix expression, is found to offer. */
import type { StorePath } from '../nix/store-path.ts';
import type { SourceKind } from './flake-expression.ts';
import type { FlakeSource } from './flake-source.ts';

export interface FlakeOutput {
  /** For instance `packages.x86_64-linux.hello` or `nixosConfigurations.web`. */
  readonly attrPath: string;
  readonly kind: SourceKind;
  /** The derivation's name, for instance hello-2.12. */
  readonly name: string;
  readonly system: string;
  readonly drvPath: StorePath;
  /** By output name. */
  readonly outputs: Readonly<Record<string, StorePath>>;
  /** Names of further outputs, whose paths only a build tells. */
  readonly floating?: readonly string[] | undefined;
}

export interface DiscoveryFailure {
  readonly attrPath: string;
  /** Nix's error, on one line. */
  readonly error: string;
}

export type DiscoverEvent =
  /** The flake has settings that the user has not accepted. */
  | { readonly type: 'config-ignored'; readonly message: string }
  | { readonly type: 'flake'; readonly source: FlakeSource }
  | { readonly type: 'evaluating'; readonly outputs: number | undefined }
  | { readonly type: 'failed'; readonly failure: DiscoveryFailure }
  /** A glob that selected nothing, though others did. */
  | { readonly type: 'unmatched'; readonly message: string };

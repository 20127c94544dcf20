/** The exit code for each error. They are a contract: product documentation lists them, scripts rely on them. */
import { type ErrorCode, NixcacheError } from '../errors.ts';

export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  /** Published, but some outputs failed to evaluate or build. */
  partial: 3,
  /** `verify` found damage, `doctor` a problem. */
  damage: 4,
  /** Everything was built, but not all of it, or nothing, could be published. */
  unpublished: 5,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A new error code does not compile until it is placed here. */
const EXIT_CODES = {
  ERR_USAGE: EXIT.usage,
  ERR_FORMAT: EXIT.failed,
  ERR_KEY: EXIT.usage,
  ERR_NIX: EXIT.failed,
  ERR_NAR_MISMATCH: EXIT.failed,
  ERR_DIGEST_MISMATCH: EXIT.failed,
  ERR_NOT_FOUND: EXIT.failed,
  ERR_RANGE: EXIT.failed,
  ERR_UNAUTHORIZED: EXIT.failed,
  ERR_FORBIDDEN: EXIT.failed,
  ERR_BLOB_UNKNOWN: EXIT.failed,
  ERR_UNSUPPORTED: EXIT.failed,
  ERR_REGISTRY: EXIT.failed,
  ERR_UPSTREAM: EXIT.failed,
  ERR_NETWORK: EXIT.failed,
  ERR_INDEX: EXIT.failed,
  ERR_INDEX_VERSION: EXIT.failed,
  ERR_IO: EXIT.failed,
  ERR_INTERRUPTED: EXIT.interrupted,
} as const satisfies Record<ErrorCode, ExitCode>;

export const exitCodeOf = (error: unknown): ExitCode =>
  error instanceof NixcacheError ? EXIT_CODES[error.code] : EXIT.failed;

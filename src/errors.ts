/** Everything that can go wrong, one code per meaning. Exit codes and HTTP statuses are chosen from these. */
export type ErrorCode =
  | 'ERR_USAGE' //            flags, arguments or configuration that the user must change
  | 'ERR_FORMAT' //           text or bytes in one of Nix's formats that Nix itself would reject
  | 'ERR_KEY' //              a key that is malformed or unreadable, or a signature that does not verify
  | 'ERR_NIX' //              the local Nix is absent, or a nix command failed
  | 'ERR_NAR_MISMATCH' //     store contents that are not what the store's database says
  | 'ERR_DIGEST_MISMATCH' //  bytes that are not what their descriptor says
  | 'ERR_NOT_FOUND' //        a blob, manifest or path that is not there
  | 'ERR_RANGE' //            a byte range outside its content
  | 'ERR_UNAUTHORIZED' //     the registry wants (other) credentials
  | 'ERR_FORBIDDEN' //        the registry knows us and says no
  | 'ERR_BLOB_UNKNOWN' //     a manifest was refused because content it names is not there
  | 'ERR_UNSUPPORTED' //      the far side cannot do this at all (405, 501)
  | 'ERR_REGISTRY' //         any other answer that the distribution specification does not allow
  | 'ERR_UPSTREAM' //         an upstream binary cache failed
  | 'ERR_NETWORK' //          no usable answer: refused, reset, timed out, cut off
  | 'ERR_INDEX' //            the cache's own objects are unreadable: going on would lose entries
  | 'ERR_INDEX_VERSION' //    the cache's own objects are of a newer format than ours
  | 'ERR_IO' //               the local file system: full, read-only, no permission
  | 'ERR_INTERRUPTED'; //     the user stopped us

/**
 * The one error that users see. `message` is one line, starts in lower case, and says what was being done, to
 * what, what was wrong and what to do.
 */
export class NixcacheError extends Error {
  override readonly name: string = 'NixcacheError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Whether `error` is a NixcacheError, of one of `codes` if any are given. */
export function isNixcacheError(error: unknown, ...codes: readonly ErrorCode[]): error is NixcacheError {
  return error instanceof NixcacheError && (codes.length === 0 || codes.includes(error.code));
}

/** The message of anything that was thrown, as one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? (issuesOf(error) ?? error.message) : String(error);
  return text.replaceAll(/\s*\n\s*/g, ' ').trim();
}

/** zod's errors have a JSON text as their message: what a person needs of it is where the trouble is. */
function issuesOf(error: Error): string | undefined {
  if (!('issues' in error) || !Array.isArray(error.issues)) return undefined;
  const places = error.issues.map(({ path }: { readonly path?: readonly PropertyKey[] }) => path?.join('.') || 'it');
  return `not as it should be: ${places.slice(0, MAX_PLACES).join(', ')}${places.length > MAX_PLACES ? ', …' : ''}`;
}

const MAX_PLACES = 4;

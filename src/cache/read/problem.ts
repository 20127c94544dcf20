/**
 * What a reader does about trouble is its caller's policy: a writer stops, since a view with holes would make gc drop what
 * it did not see; a reader goes on with a warning; verify collects.
 */
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { quoted } from '../../nix/quoted.ts';
import { sortPublicKeys } from '../../nix/signature.ts';

export interface Problem {
  /** `manifest`: it cannot be had. `image`: what it says is not a segment. */
  readonly part:
    | 'format'
    | 'cache-index'
    | 'foreign-index'
    | 'checkpoint'
    | 'manifest'
    | 'image'
    | 'config'
    | 'entries';
  /** The tag that it is about. */
  readonly tag: string;
  readonly error: unknown;
  /** What a reader goes on without; undefined when it cannot. */
  readonly warning: string | undefined;
  /** Whether the index copy on this machine stood in. */
  readonly isRecalled?: boolean;
}

/** Whoever returns from it has the reading go on without the part. */
export type OnProblem = (problem: Problem) => void;

export const stopAtProblems: OnProblem = ({ error }) => {
  throw error;
};

export const warnOfProblems =
  (onWarning: ((message: string) => void) | undefined): OnProblem =>
  ({ error, warning }) => {
    if (warning === undefined) throw error;
    onWarning?.(warning);
  };

/** What a reader says that can do without. */
export const goingOn = (error: unknown): string => `${messageOf(error)}; going on with what else there is`;

export interface Trouble {
  /** `absent`: not there. `damaged`: there, and not what it should be. `unanswered`: the registry fails on it. */
  readonly kind: 'absent' | 'damaged' | 'unanswered';
  readonly message: string;
}

const DAMAGE = ['ERR_INDEX', 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH', 'ERR_FORMAT', 'ERR_RANGE'] as const;

/** Tells damage of content from trouble on the way to it; undefined for what says nothing about the content at all. */
export function troubleOf(error: unknown): Trouble | undefined {
  const message = messageOf(error);
  if (isNixcacheError(error, 'ERR_REGISTRY')) return { kind: 'unanswered', message };
  if (!isNixcacheError(error, ...DAMAGE)) return undefined;
  return { kind: error.code === 'ERR_NOT_FOUND' ? 'absent' : 'damaged', message };
}

/** A tag that names content which is not there is damage, not absence. */
export function readError(error: unknown, what: string): unknown {
  if (!isNixcacheError(error, 'ERR_NOT_FOUND')) return error;
  return new NixcacheError('ERR_INDEX', `${what}: its content is gone from the registry; run nixcache verify`, {
    cause: error,
  });
}

/** What a reader throws that once saw the cache `name`, and finds nothing there. */
export const vanished = (name: string, entries: number, indexName: string | undefined): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `${name} had ${entries} entries, and now has neither cache-index nor anything else of ours: that is not taken for an empty cache; ` +
      `if it was deleted on purpose, ${indexName === undefined ? 'start again' : `remove what is remembered of it in ${indexName}`}`,
  );

/** Of what `cache-index` of the cache `name` calls public keys. */
export function warnOfKeys(
  texts: readonly string[],
  name: string,
  onWarning: ((message: string) => void) | undefined,
): void {
  for (const text of sortPublicKeys(texts).malformed) {
    onWarning?.(`cache-index of ${name} names ${quoted(text)}, which is no public key: it is ignored`);
  }
}

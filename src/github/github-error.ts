/** What GitHub refuses, and what to do about it. */
import * as z from 'zod/mini';
import { type ErrorCode, isNixcacheError, NixcacheError } from '../errors.ts';

export type RefusalKind =
  | 'unauthorized' //     the token is not one
  | 'forbidden' //        it may not do this
  | 'absent' //           there is no such thing, or the token may not see it
  | 'rate-limit' //       the budget of the hour is used up
  | 'secondary-limit' //  too much in too short a time
  | 'last-tagged' //      the package's last tagged version
  | 'popular' //          a public version with more than 5000 downloads
  | 'changed' //          not what was planned to be deleted any more: our own refusal
  | 'failed'; //          anything else

/** A refusal by GitHub's API. */
export class GithubError extends NixcacheError {
  /** Zero when it was never asked. */
  readonly status: number;
  readonly kind: RefusalKind;

  constructor(kind: RefusalKind, message: string, options: ErrorOptions & { readonly status: number }) {
    super(CODES[kind], message, { cause: options.cause });
    this.kind = kind;
    this.status = options.status;
  }

  /** Whether the next request would fare no better. */
  get isFinal(): boolean {
    return FINAL.has(this.kind);
  }
}

const CODES = {
  unauthorized: 'ERR_UNAUTHORIZED',
  forbidden: 'ERR_FORBIDDEN',
  absent: 'ERR_NOT_FOUND',
  'rate-limit': 'ERR_REGISTRY',
  'secondary-limit': 'ERR_REGISTRY',
  'last-tagged': 'ERR_REGISTRY',
  popular: 'ERR_REGISTRY',
  changed: 'ERR_REGISTRY',
  failed: 'ERR_REGISTRY',
} as const satisfies Record<RefusalKind, ErrorCode>;

const FINAL: ReadonlySet<RefusalKind> = new Set(['unauthorized', 'forbidden', 'rate-limit', 'secondary-limit']);

const requestErrorSchema = z.object({
  status: z.number(),
  response: z.optional(
    z.object({
      headers: z.record(z.string(), z.unknown()),
      data: z.unknown(),
    }),
  ),
});
const refusalSchema = z.object({ message: z.string() });

/** Longer explanations are web pages. */
const MAX_REASON_LENGTH = 300;

/**
 * What `error`, thrown by octokit while it did `what`, means. Errors below HTTP come back as they are; so do bugs.
 *
 * @param advice what helps against 403, which differs with the package
 */
export function githubError(error: unknown, what: string, advice: string): unknown {
  const cause = error instanceof Error ? error.cause : undefined;
  if (isNixcacheError(cause)) return cause; // our own fetch failed
  const parsed = requestErrorSchema.safeParse(error);
  if (!(error instanceof Error) || !parsed.success) return error;
  const { status, response } = parsed.data;
  const reason = reasonOf(response?.data);
  const kind = refusalKind(status, reason, response?.headers ?? {});
  // Without octokit's error as its cause: that holds the whole request, and says no more.
  return new GithubError(kind, `${what}: GitHub answers ${status}${reason && ` (${reason})`}${HELP[kind](advice)}`, {
    status,
  });
}

function reasonOf(data: unknown): string {
  const parsed = refusalSchema.safeParse(data);
  const text = parsed.success ? parsed.data.message : '';
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, MAX_REASON_LENGTH);
}

/** By status and headers as far as they tell; two refusals share 400, and differ in their words alone. */
function refusalKind(status: number, reason: string, headers: Readonly<Record<string, unknown>>): RefusalKind {
  if (status === 401) return 'unauthorized';
  if (status === 404) return 'absent';
  if (status === 403 || status === 429) {
    if (headers['x-ratelimit-remaining'] === '0') return 'rate-limit';
    const isLimit = status === 429 || headers['retry-after'] !== undefined || /secondary rate limit/i.test(reason);
    return isLimit ? 'secondary-limit' : 'forbidden';
  }
  if (status === 400 || status === 422) {
    if (/last tagged version/i.test(reason)) return 'last-tagged';
    if (/5,?000 downloads/i.test(reason)) return 'popular';
  }
  return 'failed';
}

const LATER = '; what is left is deleted by the next gc, run it again later';

const HELP: Readonly<Record<RefusalKind, (advice: string) => string>> = {
  unauthorized: () =>
    '; the token is not valid (any more): give another in GITHUB_TOKEN, in a workflow the one of the job',
  forbidden: (advice) => `; ${advice}`,
  absent: (advice) => `; the name is wrong, or the token may not see it: ${advice}`,
  'rate-limit': () => LATER,
  'secondary-limit': () => LATER,
  'last-tagged': () => '; it goes only with the whole package, on its settings page',
  popular: () => '; only the support of GitHub can delete it, and it may stay: readers do not see it',
  changed: () => '',
  failed: () => '; run gc again later',
};

/** Refusals of a registry: `{"errors":[{code,message,detail}]}`, distribution-spec v1.1.1 spec.md#error-codes. */
import * as z from 'zod/mini';
import type { ErrorCode } from '../../errors.ts';
import { HttpError, type HttpErrorFacts, readRefusal } from '../../http/http-error.ts';
import type { HttpMethod, HttpResponse } from '../../http/http-fetch.ts';
import type { RegistryKind } from './registry-kinds.ts';
import { wantsTls } from './scheme.ts';

export interface RegistryErrorEntry {
  readonly code: string;
  readonly message: string;
}

export class RegistryError extends HttpError {
  override readonly name = 'RegistryError';
  /** What the registry said, if it said it in the specification's form. */
  readonly errors: readonly RegistryErrorEntry[];

  constructor(code: ErrorCode, reason: string, facts: HttpErrorFacts, errors: readonly RegistryErrorEntry[]) {
    super(code, reason, facts);
    this.errors = errors;
  }

  /** Whether the registry gave one of `codes`. */
  has(...codes: readonly string[]): boolean {
    return this.errors.some(({ code }) => codes.includes(code));
  }
}

export interface RefusalContext {
  readonly method: HttpMethod;
  readonly kind: RegistryKind;
  /** The registry's origin: what another host says after a redirect is only about that storage URL. */
  readonly origin: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The error that `response`, unread so far, stands for. Its body is closed. */
export async function readRegistryError(response: HttpResponse, context: RefusalContext): Promise<RegistryError> {
  const read = await readRefusal(context.method, response, context.now);
  // A signed URL has expired, or the storage behind the registry is in trouble; the registry can name a fresh one.
  const elsewhere = response.url.origin !== context.origin;
  const facts = { ...read, retryable: read.retryable || elsewhere };
  const quotable = response.withoutSecrets ?? ((text: string) => text);
  const errors = elsewhere
    ? []
    : parseErrors(facts.bodyExcerpt).map((each) => ({ ...each, message: quotable(each.message) }));
  const code = elsewhere ? 'ERR_REGISTRY' : errorCode(facts, errors);
  const said = errors.map((error) => `${error.code} ${error.message}`.trim()).join('; ');
  const reason = said === '' ? plainExcerpt(quotable(facts.bodyExcerpt), response.headers['content-type']) : said;
  const hint = elsewhere ? hintForStorage(facts) : hintFor(code, facts, errors, context.kind);
  // A HEAD is answered without a body, and many proxies say no more than the status.
  const name = STATUS_NAMES.get(facts.status) ?? '';
  const text = reason === '' || reason === `${facts.status} ${name}` ? name : reason;
  return new RegistryError(code, [text, hint].filter((part) => part).join('; '), facts, errors);
}

/** RFC 9110 15, for a user who knows no numbers; Workers lack the table of node:http. */
const STATUS_NAMES: ReadonlyMap<number, string> = new Map([
  ...([
    [400, 'Bad Request'],
    [401, 'Unauthorized'],
    [403, 'Forbidden'],
    [404, 'Not Found'],
  ] as const),
  ...([
    [405, 'Method Not Allowed'],
    [409, 'Conflict'],
    [410, 'Gone'],
    [413, 'Content Too Large'],
    [429, 'Too Many Requests'],
  ] as const),
  ...([
    [500, 'Internal Server Error'],
    [501, 'Not Implemented'],
    [502, 'Bad Gateway'],
    [503, 'Service Unavailable'],
    [504, 'Gateway Timeout'],
    [507, 'Insufficient Storage'],
  ] as const),
]);

const errorsSchema = z.object({
  errors: z.array(z.object({ code: z.string(), message: z._default(z.nullable(z.string()), '') })),
});

function parseErrors(body: string): RegistryErrorEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return []; // Not in the specification's form: the status says all there is.
  }
  const parsed = errorsSchema.safeParse(json);
  if (!parsed.success) return [];
  return parsed.data.errors.map(({ code, message }) => ({ code, message: oneLine(message ?? '') }));
}

const MISSING_CONTENT: ReadonlySet<string> = new Set(['MANIFEST_BLOB_UNKNOWN', 'BLOB_UNKNOWN', 'MANIFEST_UNKNOWN']);

const UNKNOWN: ReadonlySet<string> = new Set(['NAME_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN']);

/**
 * Whether it is the registry's own word that it does not have something: Harbor has a code of its own for that (goharbor/harbor
 * src/lib/errors/const.go). Any other 404 is of a proxy, a wrong address or a fault, and says nothing about content.
 */
const saysUnknown = ({ code, message }: RegistryErrorEntry): boolean =>
  UNKNOWN.has(code) || (code === 'NOT_FOUND' && /^(artifact|repository|project|blob) \S+ not found/.test(message));

function errorCode({ method, url, status }: HttpErrorFacts, errors: readonly RegistryErrorEntry[]): ErrorCode {
  const has = (code: string): boolean => errors.some((error) => error.code === code);
  const pushesManifest = method === 'PUT' && /\/manifests\/[^/]+$/.test(new URL(url).pathname);
  if (pushesManifest && errors.some(({ code }) => MISSING_CONTENT.has(code))) return 'ERR_BLOB_UNKNOWN';
  if (status === 401) return 'ERR_UNAUTHORIZED';
  if (status === 403) return 'ERR_FORBIDDEN';
  // HEAD is answered without a body: whoever relies on absence asks again by GET.
  if (status === 404) return method === 'HEAD' || errors.some(saysUnknown) ? 'ERR_NOT_FOUND' : 'ERR_REGISTRY';
  if (status === 405 || status === 501 || has('UNSUPPORTED')) return 'ERR_UNSUPPORTED';
  if (status === 416) return 'ERR_RANGE';
  if (status < 500 && status !== 429 && has('UNAUTHORIZED')) return 'ERR_UNAUTHORIZED';
  if (status < 500 && status !== 429 && has('DENIED')) return 'ERR_FORBIDDEN';
  return 'ERR_REGISTRY';
}

function hintFor(
  code: ErrorCode,
  { method, url, status, bodyExcerpt }: HttpErrorFacts,
  errors: readonly RegistryErrorEntry[],
  kind: RegistryKind,
): string | undefined {
  const { host, searchParams } = new URL(url);
  // A token is asked for by GET, whatever it is for.
  const writes = (method !== 'GET' && method !== 'HEAD') || searchParams.get('scope')?.includes('push') === true;
  if (code === 'ERR_UNAUTHORIZED') {
    return kind.name === 'ghcr'
      ? 'is GITHUB_TOKEN set (in Actions: `permissions: packages: write`), or `docker login ghcr.io` done?'
      : `are the credentials right (\`docker login ${host}\`, or --username and --password-stdin)?`;
  }
  if (code === 'ERR_FORBIDDEN' && kind.name === 'ghcr') {
    return writes
      ? 'does the token have write:packages, and is the package linked to this repository?'
      : 'is the package public, or does the token have read:packages?';
  }
  if (code === 'ERR_FORBIDDEN') return `may this user ${writes ? 'write to' : 'read'} this repository?`;
  const has = (unknown: string): boolean => errors.some((error) => error.code === unknown);
  if (status === 404 && has('BLOB_UPLOAD_UNKNOWN')) return 'it has forgotten the upload: run the same again';
  if (status === 404 && code === 'ERR_REGISTRY') {
    return 'that is not a registry’s word that it is absent: is the address right, and does a proxy answer?';
  }
  if (status === 400 && wantsTls(bodyExcerpt))
    return 'that port wants TLS: write https:// before the host, without --plain-http';
  if (status === 413) return 'the registry, or a proxy in front of it, limits the size of uploads';
  if (status === 429) return 'it limits how much is asked of it: wait a while, then run the same again';
  if (status === 507) return 'its storage is full: make room there (nixcache gc), then run the same again';
  if (status === 404 && writes && has('NAME_UNKNOWN')) return 'does the repository have to be created first?';
  if (code === 'ERR_NOT_FOUND') return 'is the reference right? what was deleted there, nixcache verify finds';
  if (code === 'ERR_UNSUPPORTED' && method === 'DELETE') return undefined; // told with what to set where
  if (code === 'ERR_UNSUPPORTED' && writes) {
    return 'is it a mirror that takes no uploads, and the address right? else its settings say what it takes';
  }
  if (status >= 500 && status !== 501) {
    return 'the registry, or a proxy in front of it, is in trouble: run the same again later, or look into its log';
  }
  return errors.length === 0 || status === 501 || status === 405
    ? 'is that a registry, and the address right? else its log knows why'
    : undefined;
}

/** What a registry has signed and sent us to refuses, or fails: no right of ours is at fault. */
const hintForStorage = ({ status }: HttpErrorFacts): string =>
  status >= 500
    ? 'the storage of the registry is in trouble: run the same again later'
    : 'the registry sends there for its storage: is the clock of this machine right, and does a proxy answer?';

/** The start of a plain-text body; pages for browsers say nothing on one line. */
function plainExcerpt(body: string, contentType: string | undefined): string {
  if (contentType !== undefined && /html|xml/.test(contentType)) return '';
  return /^\s*[<]/.test(body) ? '' : oneLine(body).slice(0, 200);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a registry's text must not steer the terminal.
const oneLine = (text: string): string => text.replaceAll(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();

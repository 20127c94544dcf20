/** PUT: what is uploaded under which path, and how that is answered. */
import { Readable } from 'node:stream';
import { abortable, type CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import { canDecompress, decompress } from '../../nar/decompress.ts';
import { MAX_LISTING_BYTES, MAX_NAR_INFO_BYTES } from '../../nix/nar-info.ts';
import { isRealisationId } from '../../nix/realisation.ts';
import { HASH_PART_LENGTH, type HashPart } from '../../nix/store-path.ts';
import { readBounded } from '../../streams/verify.ts';
import { codingsOf, decodeBody } from '../../upstream/content-coding.ts';
import { type Answer, NO_STORE, type OpenOptions, statusAnswer } from '../answer.ts';
import { openBody } from '../request-body.ts';
import { Intake, type IntakeOptions } from './intake.ts';
import { parseNarUrl } from './nar-names.ts';
import { NoRoomError, UploadError } from './upload-error.ts';
import { openSpooled } from './with-uploads.ts';

/** A realisation has a few lines. */
const MAX_REALISATION_BYTES = 1024 * 1024;
const PLAIN = ['Content-Type', 'text/plain; charset=utf-8', 'X-Content-Type-Options', 'nosniff'] as const;
const TAKEN: Answer = { status: 201, headers: [...PLAIN, 'Cache-Control', NO_STORE], body: 'taken\n' };
/** Nix since 2.35 waits so long before it tries again. */
const RETRY_SECONDS = 5;

export class UploadRoutes {
  readonly #options: IntakeOptions;
  readonly #intake: Intake;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#intake = new Intake(options);
  }

  /** Takes what `request` uploads as `path`, which is decoded. Never rejects. */
  async put(request: Request, path: string, options: CallOptions): Promise<Answer> {
    try {
      await this.#take(request, path, options);
      return TAKEN;
    } catch (error) {
      const reason = messageOf(error);
      if (options.signal?.aborted) return statusAnswer(400); // who left reads no answer
      const detail = error instanceof NoRoomError ? error.detail : reason;
      this.#options.uploads.onEvent({ type: 'upload-refused', path, reason: detail });
      if (error instanceof UploadError) return refusal(error.status, reason);
      if (!isNixcacheError(error)) return isCutOff(error) ? statusAnswer(400) : statusAnswer(500);
      return refusal(503, 'the server could not keep the upload; its log says why');
    }
  }

  /** A NAR whose narinfo has not come yet, for whoever may see it. */
  unclaimedNar(path: string): Answer | undefined {
    const { uploads } = this.#options;
    const name = parseNarUrl(path.slice(1));
    const held = name && uploads.nars.get(name.name);
    if (held === undefined || uploads.pending.usesNar(held)) return undefined;
    const open = ({ signal }: OpenOptions): Promise<Readable> =>
      openSpooled(uploads.spool, held.name, held, { signal });
    // No part of it: only a whole can be checked.
    return {
      status: 200,
      headers: ['Content-Type', 'application/x-nix-nar', 'Cache-Control', NO_STORE],
      body: { size: undefined, open },
    };
  }

  async #take(request: Request, path: string, options: CallOptions): Promise<void> {
    if (path.startsWith('/nar/')) return this.#takeNar(request, path, options);
    const sent = await begunBody(request, options);
    const release = await this.#intake.begin('small', options);
    try {
      const hashPart = path.slice(1, 1 + HASH_PART_LENGTH) as HashPart;
      if (path.endsWith('.narinfo')) {
        const bytes = await readSmall(request, sent, MAX_NAR_INFO_BYTES, 'a narinfo');
        await this.#intake.takeNarInfo(bytes, hashPart, options);
      } else if (path.endsWith('.ls')) {
        this.#intake.takeListing(await readSmall(request, sent, MAX_LISTING_BYTES, 'a listing'));
      } else {
        const id = realisationIdOf(path);
        const bytes = await readSmall(request, sent, MAX_REALISATION_BYTES, 'a realisation');
        await this.#intake.takeRealisation(bytes, id, options);
      }
    } finally {
      release();
    }
  }

  async #takeNar(request: Request, path: string, options: CallOptions): Promise<void> {
    const nar = parseNarUrl(path.slice(1));
    if (nar === undefined) {
      throw new UploadError(
        400,
        `${path} is no name of a NAR: it is nar/<hash of the file>.nar, with .xz, .zst or so behind it`,
      );
    }
    const sent = await begunBody(request, options);
    const release = await this.#intake.begin('nars', options);
    try {
      const { body, isEncoded } = await decoded(request, sent);
      await this.#intake.takeNar(nar, { body, contentLength: isEncoded ? undefined : lengthOf(request) });
    } finally {
      release();
    }
  }
}

/** @throws {UploadError} */
function realisationIdOf(path: string): string {
  const id = /^\/realisations\/(.+)\.doi$/.exec(path)?.[1] ?? '';
  if (!isRealisationId(id)) throw new UploadError(400, `${path} is no name of a realisation`);
  return id;
}

/** What Nix shows to whoever uploads. */
function refusal(status: number, reason: string): Answer {
  const retry = status === 503 || status === 507 ? ['Retry-After', `${RETRY_SECONDS}`] : [];
  return { status, headers: [...PLAIN, 'Cache-Control', NO_STORE, ...retry], body: Buffer.from(`${reason}\n`) };
}

function lengthOf({ headers }: Request): number | undefined {
  const length = headers.get('content-length');
  return length === null || !/^[0-9]{1,15}$/.test(length) ? undefined : Number(length);
}

/** The body once something of it is there: clients that send nothing hold up no others. */
async function begunBody(request: Request, { signal }: CallOptions): Promise<Readable> {
  const body = openBody(request);
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  for (const event of ['readable', 'end', 'error', 'close']) body.once(event, resolve);
  try {
    await abortable(begun, signal);
    return body;
  } catch (error) {
    body.destroy();
    throw error;
  } finally {
    for (const event of ['readable', 'end', 'error', 'close']) body.off(event, resolve);
  }
}

async function readSmall(request: Request, sent: Readable, maxBytes: number, what: string): Promise<Buffer> {
  if ((lengthOf(request) ?? 0) > maxBytes) {
    sent.destroy();
    throw tooLarge(maxBytes, what);
  }
  const { body } = await decoded(request, sent);
  try {
    return await readBounded(body, maxBytes, what, 'ERR_RANGE');
  } catch (error) {
    if (isNixcacheError(error, 'ERR_RANGE')) throw tooLarge(maxBytes, what);
    throw isNixcacheError(error, 'ERR_UPSTREAM', 'ERR_FORMAT')
      ? new UploadError(400, messageOf(error), { cause: error })
      : error;
  }
}

const tooLarge = (maxBytes: number, what: string): UploadError =>
  new UploadError(413, `${what} has at most ${maxBytes} bytes`);

/** The body as it was before it was encoded to be sent: Nix does so with narinfos, listings and logs if it is told to. */
async function decoded(
  request: Request,
  sent: Readable,
): Promise<{ readonly body: Readable; readonly isEncoded: boolean }> {
  const codings = codingsOf(request.headers.get('content-encoding') ?? undefined);
  const what = 'the body';
  let body = sent;
  try {
    // Not those of HTTP, but of Nix.
    if (codings.length === 1 && NIX_CODINGS.has(codings[0] ?? '')) {
      const [coding = ''] = codings;
      if (!(await canDecompress(coding)))
        throw new NixcacheError('ERR_UPSTREAM', `${what} is encoded with ${coding}, which cannot be undone here`);
      body = Readable.from(decompress(body, coding), { objectMode: false });
    } else body = decodeBody(body, codings, what);
    return { body, isEncoded: codings.length > 0 };
  } catch (cause) {
    throw isNixcacheError(cause, 'ERR_UPSTREAM') ? new UploadError(400, messageOf(cause), { cause }) : cause;
  }
}

const NIX_CODINGS: ReadonlySet<string> = new Set(['xz', 'bzip2', 'lzip', 'lz4', 'lzma', 'compress']);

/** The client left before all was sent. */
const isCutOff = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR'].includes(String(error.code));

/** Upload of blobs. distribution-spec v1.1.1 spec.md#pushing-blobs */

import { Readable } from 'node:stream';
import { abortReason, type CallOptions } from '../../call-options.ts';
import { messageOf } from '../../errors.ts';
import type { HttpResponse } from '../../http/http-fetch.ts';
import { readBounded, readThrough, verifyRange, verifyStream } from '../../streams/verify.ts';
import type { OpenContent, PushOptions, PushResult } from '../content-store.ts';
import type { Descriptor } from '../descriptor.ts';
import { hasBlob } from './has-blob.ts';
import { RegistryError } from './registry-error.ts';
import type { Transport } from './transport.ts';

/**
 * Pushes by HEAD, POST and one streamed PUT of known length, never with Content-Range (GHCR takes such a PUT for a chunk of
 * at most 4 MiB). What fails is begun anew, with a new session and content opened again: no session is used twice.
 */
export async function pushBlob(
  transport: Transport,
  expected: Descriptor,
  open: OpenContent,
  options: PushOptions = {},
): Promise<PushResult> {
  const { signal } = options;
  const asWriter = { actions: 'pull,push', isReliedOn: true, signal } as const;
  if (await hasBlob(transport, expected, asWriter)) return 'existed';
  let lostSessions = 0;
  const alsoRetry = (error: unknown): boolean => {
    if (!isLostSession(error)) return false;
    lostSessions += 1;
    return lostSessions <= MAX_LOST_SESSIONS;
  };
  try {
    await transport.retrier.run(
      async (attempt) => {
        // The attempt before may have arrived although its answer did not.
        if (attempt > 1 && (await hasBlob(transport, expected, { ...asWriter, retry: false }))) return;
        await upload(transport, expected, open, options);
      },
      { signal, alsoRetry },
    );
  } catch (error) {
    throw error instanceof SourceFailure ? error.cause : error;
  }
  return 'pushed';
}

/**
 * Returns if we may push: by beginning an upload, which is then called off where registries do that. GHCR answers 405, and
 * lets sessions run out.
 */
export async function checkWrite(transport: Transport, { signal }: CallOptions = {}): Promise<void> {
  const session = await transport.send({
    ...{ method: 'POST', url: transport.url('blobs/uploads/'), actions: 'pull,push', signal, expect: [201, 202] },
  });
  const location = session.headers['location'];
  if (transport.kind.deletes !== 'distribution' || session.status !== 202 || location === undefined) return;
  try {
    const url = transport.resolve(location, session.url, 'call off an upload');
    const request = { method: 'DELETE', url, actions: 'pull,push,delete', signal } as const;
    await transport.sendOnce({ ...request, expect: [200, 202, 204], timeoutMs: CANCEL_MS });
  } catch {
    if (signal?.aborted === true) throw abortReason(signal); // else it runs out by itself
  }
}

/** It is a courtesy, and must hold nobody up. */
const CANCEL_MS = 5000;

const MAX_LOST_SESSIONS = 3;

/** All cured by uploading the whole blob again (GoogleContainerTools/jib#4301, infobloxopen/konk#626). */
const isLostSession = (error: unknown): boolean =>
  error instanceof RegistryError &&
  error.method !== 'POST' &&
  (error.status === 404 || error.has('BLOB_UPLOAD_UNKNOWN', 'BLOB_UPLOAD_INVALID', 'BLOB_UNKNOWN', 'DIGEST_INVALID'));

/** What the content's owner did wrong: never retried, and passed on as it is. */
class SourceFailure extends Error {
  constructor(cause: unknown) {
    super(messageOf(cause), { cause });
  }
}

async function upload(
  transport: Transport,
  expected: Descriptor,
  open: OpenContent,
  options: PushOptions,
): Promise<void> {
  const { signal } = options;
  // Small content is read first: wrong bytes then cost no session.
  const small = expected.size <= MAX_BUFFERED_BYTES ? await readSmall(expected, open, options) : undefined;
  const actions = 'pull,push';
  const session = await transport.sendOnce({
    ...{ method: 'POST', url: transport.url('blobs/uploads/'), actions, signal, expect: [201, 202] },
  });
  if (session.status === 201) return confirm(transport, expected, signal);
  let url = locationOf(transport, expected, session);
  let content: Content = small ?? (await openContent(expected, open, options));
  const headers = { 'content-type': 'application/octet-stream' };
  const sending = { actions, signal, timeoutMs: deadlineMs(expected.size), stallTimeoutMs: STALL_TIMEOUT_MS } as const;
  try {
    if (transport.kind.uploads === 'patch-put') {
      const sized = { ...headers, 'content-length': String(expected.size) };
      const patched = await transport.sendOnce({
        ...{ method: 'PATCH', url, headers: sized, body: content.body, expect: [201, 202, 204], ...sending },
      });
      url = locationOf(transport, expected, patched);
      content = { body: Buffer.alloc(0), failure: () => undefined };
    }
    const sized = {
      ...headers,
      'content-length': content.body instanceof Readable ? String(expected.size) : String(content.body.length),
    };
    const done = await transport.sendOnce({
      ...{ method: 'PUT', url: withDigest(url, expected), headers: sized, body: content.body, ...sending },
      expect: [200, 201, 202, 204],
    });
    checkNamed(transport, expected, done);
    if (done.status === 202) await confirm(transport, expected, signal);
  } catch (error) {
    const failure = content.failure();
    throw failure === undefined ? error : new SourceFailure(failure);
  } finally {
    if (content.body instanceof Readable) content.body.destroy();
  }
}

/** 256 KiB: one write of a socket, not worth a stream. */
const MAX_BUFFERED_BYTES = 256 * 1024;

/** The storage behind a registry may take its time between pieces, and so may who makes the content. */
const STALL_TIMEOUT_MS = 3 * 60_000;

/** Ten minutes, which is also GHCR's limit, and more where 256 KiB a second would not be done by then. */
const deadlineMs = (size: number): number => Math.max(10 * 60_000, (size / (256 * 1024)) * 1000);

interface Content {
  readonly body: Uint8Array | Readable;
  /** What the content itself ended in, if it did. */
  readonly failure: () => unknown;
}

async function openContent(
  expected: Descriptor,
  open: OpenContent,
  { signal, isHashed }: PushOptions,
): Promise<Content & { readonly body: Readable }> {
  let source: Readable;
  try {
    source = await open();
  } catch (cause) {
    throw new SourceFailure(cause);
  }
  // The registry compares the digest in the PUT with what it got.
  const check = isHashed ? verifyRange(expected.size, `blob ${expected.digest}`) : verifyStream(expected);
  let failure: unknown;
  // Once `check` is destroyed, errors of the source are only the echo of the request's.
  source.on('error', (error) => {
    if (!check.destroyed) failure ??= error;
  });
  return { body: readThrough(source, check, { signal }), failure: () => failure };
}

async function readSmall(expected: Descriptor, open: OpenContent, options: PushOptions): Promise<Content> {
  const { body, failure } = await openContent(expected, open, options);
  try {
    const bytes = await readBounded(body, MAX_BUFFERED_BYTES, `blob ${expected.digest}`);
    return { body: bytes, failure };
  } catch (cause) {
    throw new SourceFailure(cause);
  }
}

/** What a registry says it took without having finished (202), or without having been sent anything, is asked for. */
async function confirm(transport: Transport, expected: Descriptor, signal: AbortSignal | undefined): Promise<void> {
  if (await hasBlob(transport, expected, { actions: 'pull,push', retry: false, signal })) return;
  throw transport.fault('ERR_REGISTRY', `push blob ${expected.digest}`, 'the registry took it, but does not have it');
}

function checkNamed(transport: Transport, { digest }: Descriptor, { headers }: HttpResponse): void {
  const named = headers['docker-content-digest'];
  if (!named?.startsWith('sha256:') || named === digest) return;
  throw transport.fault('ERR_DIGEST_MISMATCH', `push blob ${digest}`, `the registry stored it as ${named}`);
}

function locationOf(transport: Transport, { digest }: Descriptor, { headers, url }: HttpResponse): URL {
  const location = headers['location'];
  if (location !== undefined) return transport.resolve(location, url, `push blob ${digest}`);
  throw transport.fault('ERR_REGISTRY', `push blob ${digest}`, 'the answer does not say where to: no Location');
}

/** Appended as text: what the query holds may be signed as it is written. */
function withDigest(url: URL, { digest }: Descriptor): URL {
  const digested = new URL(url);
  digested.search = `${url.search === '' ? '?' : `${url.search}&`}digest=${encodeURIComponent(digest)}`;
  return digested;
}

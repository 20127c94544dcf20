/** Whether a blob is there, and whole. distribution-spec v1.1.1 spec.md#checking-if-content-exists-in-the-registry */
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import type { HttpResponse } from '../../http/http-fetch.ts';
import { discardBody, REDIRECTS } from '../../http/redirects.ts';
import type { BlobTarget } from '../content-store.ts';
import type { Actions } from './auth.ts';
import type { RegistryRequest, Transport } from './transport.ts';

const REFUSALS_OF_HEAD = [400, 403, 404, 405, 501] as const;

export interface HasBlobOptions extends CallOptions {
  /** Default `pull`; whoever goes on to write needs a token for that anyway. */
  readonly actions?: Actions | undefined;
  /** Whether a fault is met by asking again; default true. */
  readonly retry?: boolean | undefined;
  /** Whether a byte of it has to be seen, for something is going to rely on it; default false. */
  readonly isReliedOn?: boolean | undefined;
}

/**
 * By one HEAD, and where the registry redirects (GHCR answers 307) by a second one to its storage. Another size is what
 * a damaged disk left: to rely on it would be worse than to call it absent.
 */
export async function hasBlob(
  transport: Transport,
  target: BlobTarget,
  { signal, actions = 'pull', retry = true, isReliedOn = false }: HasBlobOptions = {},
): Promise<boolean> {
  const url = transport.url(`blobs/${target.digest}`);
  const head: RegistryRequest = {
    ...{ method: 'HEAD', url, actions, signal, maxRedirects: 0 },
    expect: [200, 204, 404, ...REDIRECTS],
  };
  const response = await (retry ? transport.send(head) : transport.sendOnce(head));
  // Who writes goes on to store it; who reads draws conclusions from absence, for which an answer without a body is not enough.
  if (response.status === 404) return actions === 'pull' ? isThereAfterAll(transport, head) : false;
  if (target.size === undefined) return true;
  const isRedirect = REDIRECTS.includes(response.status);
  const size = isRedirect ? await sizeInStorage(transport, response, head) : lengthOf(response);
  if (size !== 'unknown' && size !== target.size) return false;
  return isRedirect || !isReliedOn || target.size === 0 || canRead(transport, head);
}

const FIRST_BYTE = { range: 'bytes=0-0', 'accept-encoding': 'identity' };

/**
 * A registry may remember what its storage has lost: distribution with `blobdescriptor: inmemory`, as in its image's own
 * configuration, answers HEAD for blobs that a garbage collection beside it has taken, and breaks off when they are read.
 * Any other trouble leaves the registry's word: it is there.
 */
async function canRead(transport: Transport, head: RegistryRequest): Promise<boolean> {
  try {
    const get = { method: 'GET', headers: FIRST_BYTE, expect: [200, 206, 404, 416], maxRedirects: undefined } as const;
    const { status, body } = await transport.sendOnce({ ...head, ...get });
    let seen = 0;
    for await (const chunk of body as AsyncIterable<Buffer>) {
      seen += chunk.length;
      if (status === 200) break; // all of it, whatever was asked for
    }
    return status < 400 && seen > 0;
  } catch (error) {
    if (isNixcacheError(error, 'ERR_NETWORK')) return false;
    if (isNixcacheError(error) && error.code !== 'ERR_INTERRUPTED') return true;
    throw error;
  }
}

/** By GET of one byte. @throws {NixcacheError} ERR_REGISTRY for a 404 that is not the registry's own word */
async function isThereAfterAll(transport: Transport, head: RegistryRequest): Promise<boolean> {
  const get: RegistryRequest = {
    ...{ ...head, method: 'GET', headers: FIRST_BYTE },
    ...{ expect: [200, 206, 416], maxRedirects: undefined },
  };
  try {
    await discardBody((await transport.send(get)).body);
    return true;
  } catch (error) {
    if (isNixcacheError(error, 'ERR_NOT_FOUND')) return false;
    throw error;
  }
}

type Size = number | 'absent' | 'unknown';

/**
 * The length that the redirect itself has is that of its own body. Its URL may be signed for GET alone (S3): then one
 * byte is asked for, through the registry, which signs anew. Storage in trouble leaves the registry's word: it is there.
 */
async function sizeInStorage(transport: Transport, redirect: HttpResponse, head: RegistryRequest): Promise<Size> {
  try {
    const location = transport.resolve(redirect.headers['location'] ?? '', redirect.url, 'look for a blob');
    const there = await transport.sendOnce({ ...head, url: location, expect: [200, ...REFUSALS_OF_HEAD] });
    if (there.status === 200 && lengthOf(there) !== 'unknown') return lengthOf(there);
    const get = { method: 'GET', headers: FIRST_BYTE, expect: [200, 206, 404, 416], maxRedirects: undefined } as const;
    const byte = await transport.sendOnce({ ...head, ...get });
    await discardBody(byte.body);
    if (byte.status === 404) return 'absent';
    if (byte.status === 200) return lengthOf(byte);
    const [, total] = /\/(\d+)$/.exec(byte.headers['content-range'] ?? '') ?? [];
    return total === undefined ? 'unknown' : Number(total);
  } catch (error) {
    if (isNixcacheError(error) && error.code !== 'ERR_INTERRUPTED') return 'unknown';
    throw error;
  }
}

/** Of an answer without a body, not every server says the length. */
function lengthOf({ headers }: HttpResponse): number | 'unknown' {
  const length = Number(headers['content-length'] ?? 0);
  return length > 0 ? length : 'unknown';
}

import * as z from 'zod/mini';
import { parseBoundedJson } from '../../bounded-json.ts';
import type { CallOptions } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { HttpResponse } from '../../http/http-fetch.ts';
import { REDIRECTS } from '../../http/redirects.ts';
import { readBounded } from '../../streams/verify.ts';
import type { StoredManifest } from '../content-store.ts';
import { type Descriptor, describe } from '../descriptor.ts';
import { type Digest, digestOf, isDigest } from '../digest.ts';
import { isManifestMediaType, MANIFEST_MEDIA_TYPES, MAX_MANIFEST_BYTES } from '../manifest.ts';
import { untilIntact } from '../read-blob.ts';
import { isTag } from '../reference.ts';
import { RegistryError } from './registry-error.ts';
import type { RegistryRequest, Transport } from './transport.ts';

/** All of them: without the index type, an index answers 404 (seantis/roots#4). */
const ACCEPT = MANIFEST_MEDIA_TYPES.join(', ');

/** A manifest of thousands of layers on an object store is checked layer by layer. */
const PUT_TIMEOUT_MS = 5 * 60_000;

export async function fetchManifest(
  transport: Transport,
  reference: string,
  { signal }: CallOptions = {},
): Promise<StoredManifest | undefined> {
  const url = transport.url(`manifests/${checkReference(reference)}`);
  const doing = `fetch manifest ${reference}`;
  const headers = { accept: ACCEPT };
  const read = async (): Promise<StoredManifest> => {
    const { response, bytes } = await transport.fetchDocument(
      { method: 'GET', url, actions: 'pull', expect: [200], headers, signal },
      { maxBytes: MAX_MANIFEST_BYTES, what: `manifest ${reference}` },
    );
    const digest = digestOf(bytes);
    const named = isDigest(reference) ? reference : namedDigest(response);
    if (named !== undefined && named !== digest) throw mismatch(transport, doing, named, digest);
    const mediaType = contentType(response) ?? ownMediaType(transport, doing, bytes);
    return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
  };
  return absentAsUndefined(() => untilIntact(read));
}

/**
 * By HEAD; by GET where the answer to HEAD leaves out what a descriptor needs, as that of a storage does to which the
 * registry redirects: it knows neither media types nor digests, and may take no HEAD.
 */
export async function resolveManifest(
  transport: Transport,
  reference: string,
  options: CallOptions = {},
): Promise<Descriptor | undefined> {
  const url = transport.url(`manifests/${checkReference(reference)}`);
  const headers = { accept: ACCEPT };
  const request: RegistryRequest = {
    ...{ method: 'HEAD', url, actions: 'pull', headers, signal: options.signal, maxRedirects: 0 },
    expect: [200, ...REDIRECTS],
  };
  const response = await absentAsUndefined(() => transport.send(request));
  // An answer without a body has no code, which alone means absence.
  if (response === undefined) return (await fetchManifest(transport, reference, options))?.descriptor;
  if (response.status !== 200) return (await fetchManifest(transport, reference, options))?.descriptor;
  const mediaType = contentType(response);
  const size = Number(response.headers['content-length'] ?? Number.NaN);
  const named = namedDigest(response) ?? (isDigest(reference) ? reference : undefined);
  if (isDigest(reference) && named !== reference) {
    throw mismatch(transport, `resolve manifest ${reference}`, reference, named ?? 'none');
  }
  if (named !== undefined && mediaType !== undefined && Number.isSafeInteger(size) && size > 0) {
    return { mediaType, digest: named, size };
  }
  return (await fetchManifest(transport, reference, options))?.descriptor;
}

export async function pushManifest(
  transport: Transport,
  tag: string,
  mediaType: string,
  bytes: Uint8Array,
  { signal }: CallOptions = {},
): Promise<Descriptor> {
  if (!isTag(tag)) throw new NixcacheError('ERR_USAGE', `'${tag}' is not a tag`);
  const doing = `push manifest ${tag}`;
  if (bytes.length > MAX_MANIFEST_BYTES) {
    const reason = `${bytes.length} bytes are more than the ${MAX_MANIFEST_BYTES} that registries take`;
    throw transport.fault('ERR_UNSUPPORTED', doing, reason);
  }
  const descriptor = describe(mediaType, bytes);
  const put: RegistryRequest = {
    method: 'PUT',
    url: transport.url(`manifests/${tag}`),
    actions: 'pull,push',
    expect: [200, 201, 202, 204],
    headers: { 'content-type': mediaType },
    body: bytes,
    timeoutMs: PUT_TIMEOUT_MS,
    signal,
  };
  let response: HttpResponse;
  try {
    response = await transport.send(put);
  } catch (error) {
    // It may have been stored all the same, and only the answer lost: then whoever reads sees it.
    if (isRefusal(error) || signal?.aborted || !(await isStored(transport, tag, descriptor, signal))) throw error;
    return descriptor;
  }
  const named = namedDigest(response);
  if (named !== undefined && named !== descriptor.digest) throw mismatch(transport, doing, descriptor.digest, named);
  return descriptor;
}

/** Whether the registry says that it did not store it. */
const isRefusal = (error: unknown): boolean =>
  error instanceof RegistryError && error.status < 500 && error.status !== 408;

/** Whether `tag` names these bytes now. */
async function isStored(
  transport: Transport,
  tag: string,
  { digest }: Descriptor,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    const { body } = await transport.sendOnce({
      ...{ method: 'GET', url: transport.url(`manifests/${tag}`), actions: 'pull', expect: [200] },
      ...{ headers: { accept: ACCEPT }, signal },
    });
    return digestOf(await readBounded(body, MAX_MANIFEST_BYTES, `manifest ${tag} of ${transport.name}`)) === digest;
  } catch {
    return false; // what is wrong was said by the push
  }
}

export async function deleteManifest(
  transport: Transport,
  digest: Digest,
  { signal }: CallOptions = {},
): Promise<'deleted' | 'absent'> {
  const url = transport.url(`manifests/${digest}`);
  const request = { method: 'DELETE', url, actions: 'pull,push,delete', expect: [200, 202, 204], signal } as const;
  const response = await absentAsUndefined(() => transport.send(request), explainUnsupported);
  if (response === undefined) return 'absent';
  return 'deleted';
}

/** Only the registry's own word for it is an absence. */
async function absentAsUndefined<T>(
  call: () => Promise<T>,
  explain: (error: unknown) => unknown = (error) => error,
): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'ERR_NOT_FOUND') return undefined;
    throw explain(error);
  }
}

function explainUnsupported(error: unknown): unknown {
  if (!(error instanceof RegistryError) || error.code !== 'ERR_UNSUPPORTED') return error;
  const hint =
    'this registry does not delete; on distribution set storage.delete.enabled (REGISTRY_STORAGE_DELETE_ENABLED=true)';
  return new NixcacheError('ERR_UNSUPPORTED', `${error.message}; ${hint}`, { cause: error });
}

/** Ours go into a path: only what cannot change it. */
function checkReference(reference: string): string {
  if (isDigest(reference) || isTag(reference)) return reference;
  throw new NixcacheError('ERR_USAGE', `'${reference}' is neither a tag nor a sha256 digest`);
}

function namedDigest(response: HttpResponse): Digest | undefined {
  const named = response.headers['docker-content-digest'];
  return typeof named === 'string' && isDigest(named) ? named : undefined;
}

/** What the registry says, if it says that of a manifest. */
function contentType({ headers }: HttpResponse): string | undefined {
  const said = headers['content-type']?.split(';', 1)[0]?.trim();
  return said !== undefined && isManifestMediaType(said) ? said : undefined;
}

const taggedSchema = z.object({ mediaType: z.string() });

/** What the manifest says of itself. */
function ownMediaType(transport: Transport, doing: string, bytes: Buffer): string {
  try {
    return taggedSchema.parse(parseBoundedJson(bytes.toString('utf8'))).mediaType;
  } catch (cause) {
    const reason = 'the answer is no manifest, or one without a media type; is this an OCI registry?';
    throw transport.fault('ERR_REGISTRY', doing, reason, { cause });
  }
}

const mismatch = (transport: Transport, doing: string, expected: string, found: string): NixcacheError =>
  transport.fault('ERR_DIGEST_MISMATCH', doing, `expected ${expected}, but it is ${found}`);

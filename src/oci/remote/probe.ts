/** What we may do with a repository, found out without leaving anything behind. */
import type { CallOptions } from '../../call-options.ts';
import { discardBody } from '../../http/redirects.ts';
import { IMAGE_MANIFEST } from '../manifest.ts';
import { RegistryError } from './registry-error.ts';
import type { Transport } from './transport.ts';

/**
 * Whether the repository is there, if we may read it: by the first page of its tags.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN when we may not; ERR_NETWORK and others
 */
export async function probeRead(transport: Transport, { signal }: CallOptions = {}): Promise<'there' | 'absent'> {
  const url = transport.url('tags/list?n=1');
  const response = await transport.send({ method: 'GET', url, actions: 'pull', expect: [200, 404], signal });
  await discardBody(response.body);
  return response.status === 200 ? 'there' : 'absent';
}

/** No manifest has this digest, and the bytes sent are no manifest: whoever may write is told so, and nothing is stored. */
const IMPOSSIBLE_DIGEST = `sha256:${'0'.repeat(64)}`;
/** What the specification has a registry say to bytes like that; any 400 without a code is taken for one. */
const REFUSALS_OF_CONTENT = [
  'MANIFEST_INVALID',
  'DIGEST_INVALID',
  'UNSUPPORTED',
  'MANIFEST_UNVERIFIED',
  'SIZE_INVALID',
];

/**
 * Returns if we may write: by offering a manifest that no registry can take. An upload would do too, but leaves a session
 * behind where registries do not cancel them.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN when we may not; ERR_NOT_FOUND where the repository has to be
 *   created first; ERR_NETWORK and others when it cannot be told
 */
export async function probeWrite(transport: Transport, { signal }: CallOptions = {}): Promise<void> {
  try {
    await transport.send({
      ...{ method: 'PUT', url: transport.url(`manifests/${IMPOSSIBLE_DIGEST}`), actions: 'pull,push', signal },
      headers: { 'content-type': IMAGE_MANIFEST },
      body: Buffer.from('{}'),
      expect: [],
    });
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status !== 400) throw error;
    if (error.errors.length > 0 && !error.has(...REFUSALS_OF_CONTENT)) throw error;
  }
}

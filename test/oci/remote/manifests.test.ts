import { describe, expect, it } from 'vitest';
import { describe as describeContent } from '../../../src/oci/descriptor.ts';
import { IMAGE_MANIFEST, MAX_MANIFEST_BYTES } from '../../../src/oci/manifest.ts';
import { PROFILES } from '../../support/fake-registry-faults.ts';
import { blobOf, manifestOf, openRepository } from './open-repository.ts';

const MANIFEST = /\/manifests\//;
const config = blobOf('{}');

const refusal = (code: string, message = ''): string => JSON.stringify({ errors: [{ code, message }] });

async function openWithTag(...args: Parameters<typeof openRepository>) {
  const opened = await openRepository(...args);
  await opened.repository.pushBlob(config.descriptor, config.open);
  const pushed = await opened.repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(config.descriptor));
  return { ...opened, pushed };
}

describe('manifests', () => {
  it.each(['MANIFEST_BLOB_UNKNOWN', 'BLOB_UNKNOWN', 'MANIFEST_UNKNOWN'])(
    'tells missing content from %s',
    async (code) => {
      const { registry, repository } = await openRepository();
      registry.inject({ method: 'PUT', act: { type: 'answer', status: 400, body: refusal(code) } });
      const pushed = repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(config.descriptor));
      await expect(pushed).rejects.toMatchObject({ code: 'ERR_BLOB_UNKNOWN' });
    },
  );

  it.each([
    [401, 'UNAUTHORIZED', 'ERR_UNAUTHORIZED'],
    [403, 'DENIED', 'ERR_FORBIDDEN'],
    [405, 'UNSUPPORTED', 'ERR_UNSUPPORTED'],
    [501, '', 'ERR_UNSUPPORTED'],
    [400, 'UNSUPPORTED', 'ERR_UNSUPPORTED'],
    [400, 'DENIED', 'ERR_FORBIDDEN'],
    [400, 'MANIFEST_INVALID', 'ERR_REGISTRY'],
    [413, 'SIZE_INVALID', 'ERR_REGISTRY'],
    [404, 'NAME_UNKNOWN', 'ERR_NOT_FOUND'],
  ] as const)('calls a push answered %i %s %s', async (status, code, expected) => {
    const { registry, repository } = await openRepository();
    registry.inject({ method: 'PUT', act: { type: 'answer', status, body: refusal(code) } });
    const pushed = repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(config.descriptor));
    await expect(pushed).rejects.toMatchObject({ code: expected, status });
  });

  it('survives a burst of server errors and a lost answer', async () => {
    const { registry, repository, retries } = await openRepository();
    await repository.pushBlob(config.descriptor, config.open);
    registry.inject({ method: 'PUT', path: MANIFEST, act: { type: 'answer', status: 500 } });
    registry.inject({ method: 'PUT', path: MANIFEST, act: { type: 'lose-answer' } });
    registry.inject({ method: 'PUT', path: MANIFEST, act: { type: 'reset' } });
    await repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(config.descriptor));
    expect(retries).toHaveLength(3);
  });

  it('refuses bytes that are not those of the digest asked for', async () => {
    const { registry, repository, pushed } = await openWithTag();
    const other = { 'content-type': IMAGE_MANIFEST };
    registry.inject({ method: 'GET', times: 3, act: { type: 'answer', status: 200, headers: other, body: '{}' } });
    await expect(repository.fetchManifest(pushed.digest)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(registry.count('GET', MANIFEST)).toBe(3);
  });

  it('refuses bytes that are not those of the digest the registry names for the tag', async () => {
    const { registry, repository, pushed } = await openWithTag();
    const headers = { 'content-type': IMAGE_MANIFEST, 'docker-content-digest': pushed.digest };
    registry.inject({ method: 'GET', times: 3, act: { type: 'answer', status: 200, headers, body: '{}' } });
    await expect(repository.fetchManifest('tag')).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(registry.count('GET', MANIFEST)).toBe(3);
  });

  it('is pushed when it is there, though every answer was lost; not when something else is', async () => {
    for (const status of [undefined, 504]) {
      const { registry, repository } = await openWithTag();
      const bytes = manifestOf(config.descriptor, [config.descriptor]);
      registry.inject({ method: 'PUT', path: MANIFEST, act: { type: 'lose-answer' } });
      const act = status === undefined ? ({ type: 'reset' } as const) : ({ type: 'answer', status } as const);
      registry.inject({ method: 'PUT', path: MANIFEST, times: 100, act });
      const { digest } = await repository.pushManifest('other', IMAGE_MANIFEST, bytes);
      expect(await repository.resolve('other')).toMatchObject({ digest });
      const third = repository.pushManifest('tag', IMAGE_MANIFEST, bytes);
      await expect(third).rejects.toMatchObject({ code: status === undefined ? 'ERR_NETWORK' : 'ERR_REGISTRY' });
    }
  });

  it('reads no more than 4 MiB', async () => {
    const { registry, repository } = await openRepository();
    const headers = { 'content-type': IMAGE_MANIFEST };
    const body = ' '.repeat(MAX_MANIFEST_BYTES + 1);
    registry.inject({ method: 'GET', act: { type: 'answer', status: 200, headers, body } });
    await expect(repository.fetchManifest('tag')).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it.each(['sha256', 'tag'])('asks by GET what a redirect of HEAD (by %s) hides behind storage', async (by) => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    await repository.pushBlob(config.descriptor, config.open);
    const pushed = await repository.pushManifest('t', IMAGE_MANIFEST, manifestOf(config.descriptor));
    // Signed for GET alone, and with the length of its own body.
    const headers = { location: `http://${registry.storageHost}/manifests/x?sig=1`, 'content-length': '42' };
    registry.inject({ method: 'HEAD', act: { type: 'answer', status: 307, headers } });
    expect(await repository.resolve(by === 'tag' ? 't' : pushed.digest)).toEqual(pushed);
    expect(registry.requests.some(({ at }) => at === 'storage')).toBe(false);
  });

  it('asks by GET what the answer to HEAD leaves out', async () => {
    const { registry, repository, pushed } = await openWithTag();
    registry.inject({ method: 'HEAD', act: { type: 'answer', status: 200 } });
    expect(await repository.resolve('tag')).toEqual(pushed);
    expect(registry.count('GET', MANIFEST)).toBe(1);
  });

  it('does not take the error page of something in between for an absence', async () => {
    const { registry, repository } = await openRepository();
    const headers = { 'content-type': 'text/html' };
    registry.inject({ method: 'GET', act: { type: 'answer', status: 404, headers, body: '<html>nope</html>' } });
    await expect(repository.fetchManifest('tag')).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it('asks by GET for the word of a registry whose HEAD says 404', async () => {
    const { registry, repository, pushed } = await openWithTag();
    registry.inject({ method: 'HEAD', act: { type: 'answer', status: 404 } });
    expect(await repository.resolve('tag')).toEqual(pushed);
    expect(await repository.resolve('other')).toBeUndefined();
    registry.inject({ times: 2, act: { type: 'answer', status: 404 } });
    await expect(repository.resolve('tag')).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it('gives back what a registry with a lagging view holds', async () => {
    const { repository, pushed } = await openWithTag({ staleTagReads: 1 });
    expect(await repository.fetchManifest('tag')).toBeUndefined();
    expect((await repository.fetchManifest('tag'))?.descriptor).toEqual(pushed);
  });

  it('passes on that there are too many layers', async () => {
    const { repository } = await openRepository(PROFILES.ecr);
    await repository.pushBlob(config.descriptor, config.open);
    const manifest = manifestOf(config.descriptor, Array(501).fill(config.descriptor));
    const pushed = repository.pushManifest('tag', IMAGE_MANIFEST, manifest);
    await expect(pushed).rejects.toMatchObject({ code: 'ERR_REGISTRY', message: /MANIFEST_INVALID/ });
  });
});

describe('deleting', () => {
  const { digest } = describeContent(IMAGE_MANIFEST, manifestOf(config.descriptor));

  it('says on GHCR that its own API does it', async () => {
    const { registry, repository } = await openRepository(PROFILES.ghcr, { kind: 'ghcr' });
    await expect(repository.deleteManifest(digest)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: /Packages API/,
    });
    expect(registry.requests).toEqual([]);
  });

  it('leaves it to the deleter it was given', async () => {
    const asked: string[] = [];
    const deleter = {
      deleteManifest: async (digest: string) => {
        asked.push(digest);
        return 'deleted' as const;
      },
    };
    const { repository } = await openRepository(PROFILES.ghcr, { kind: 'ghcr', deleter });
    expect(await repository.deleteManifest(digest)).toBe('deleted');
    expect(asked).toEqual([digest]);
  });

  it('says how distribution can be made to', async () => {
    const { repository } = await openRepository({ deletes: false });
    await repository.pushBlob(config.descriptor, config.open);
    await expect(repository.deleteManifest(digest)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      message: /storage\.delete\.enabled/,
    });
  });
});

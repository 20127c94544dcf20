/** The client against distribution 2.8, which is what most self-hosted registries are made of. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { testContentStore } from '../oci/content-store.suite.ts';
import { blobOf, manifestOf, nobody, readAll } from '../oci/remote/open-repository.ts';
import { RealRegistry } from '../support/real-registry.ts';

let registry: RealRegistry;
let http: HttpClient;
let opened = 0;

beforeAll(async () => {
  http = new HttpClient();
  registry = await RealRegistry.start();
});

afterAll(async () => {
  await http.destroy();
  await registry.stop();
});

const open = async (host = registry.host): Promise<RemoteRepository> => {
  opened += 1;
  return new RemoteRepository({ host, repository: `team/cache-${opened}`, http, credentials: nobody });
};

testContentStore('RemoteRepository on docker-registry', open, { tellsBlobsFromManifests: false });

describe('docker-registry', () => {
  it('keeps what a tag reaches when it collects garbage, and frees what was deleted', async () => {
    const repository = await open();
    const kept = blobOf('kept by a tag');
    const dropped = blobOf('dropped with its manifest');
    for (const { descriptor, open: content } of [kept, dropped]) await repository.pushBlob(descriptor, content);
    await repository.pushManifest('keep', IMAGE_MANIFEST, manifestOf(kept.descriptor));
    const unneeded = await repository.pushManifest('drop', IMAGE_MANIFEST, manifestOf(dropped.descriptor));
    expect(await repository.deleteManifest(unneeded.digest)).toBe('deleted');
    await registry.collectGarbage();
    expect(await readAll(await repository.fetchBlob(kept.descriptor))).toEqual(kept.bytes);
    expect(await repository.hasBlob(dropped.descriptor)).toBe(false);
    expect(await repository.listTags()).toEqual(['keep']);
  });

  it('says how to allow deletion when it does not', async () => {
    const readOnly = await RealRegistry.start({ deletes: false });
    try {
      const repository = await open(readOnly.host);
      const config = blobOf('{}');
      await repository.pushBlob(config.descriptor, config.open);
      const { digest } = await repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(config.descriptor));
      await expect(repository.deleteManifest(digest)).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('storage.delete.enabled'),
      });
    } finally {
      await readOnly.stop();
    }
  });

  it('gets a blob again that it remembers and has lost to a garbage collection beside it', async () => {
    const forgetful = await RealRegistry.start({ remembers: true });
    try {
      const repository = await open(forgetful.host);
      const blob = blobOf('taken away');
      expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
      expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('existed');
      await forgetful.collectGarbage({ beside: true });
      expect(await repository.hasBlob(blob.descriptor)).toBe(true); // says the registry
      expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
      await repository.pushManifest('keep', IMAGE_MANIFEST, manifestOf(blob.descriptor));
      expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    } finally {
      await forgetful.stop();
    }
  });

  it('goes on after the registry was restarted under its keep-alive connections', async () => {
    const repository = await open();
    const blob = blobOf('survives a restart');
    await repository.pushBlob(blob.descriptor, blob.open);
    await registry.pause();
    await registry.resume();
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
  });
});

/** Whether a blob is there, and whole, where the registry itself only says where it lies. */
import { describe, expect, it } from 'vitest';
import type { FakeRegistry } from '../../support/fake-registry.ts';
import type { FaultAct } from '../../support/fake-registry-faults.ts';
import { blobOf, openRepository, randomBlob } from './open-repository.ts';

const blob = randomBlob(1000);

async function stored(bytes: Buffer = blob.bytes, traits: object = { redirectBlobs: true, auth: 'bearer' }) {
  const opened = await openRepository(traits);
  opened.registry.repository('team/cache').blobs.set(blob.descriptor.digest, bytes);
  return opened;
}

const atStorage = (registry: FakeRegistry): string[] =>
  registry.requests.filter(({ at }) => at === 'storage').map(({ method, status }) => `${method} ${status}`);

describe('absence', () => {
  it('is the word of the registry, by GET, and not a HEAD that is answered 404', async () => {
    const { registry, repository } = await stored(blob.bytes, {});
    registry.inject({ method: 'HEAD', act: { type: 'answer', status: 404 } });
    expect(await repository.hasBlob(blob.descriptor)).toBe(true);
    expect(await repository.hasBlob(blobOf('other').descriptor)).toBe(false);
    registry.inject({ times: 2, act: { type: 'answer', status: 404 } });
    await expect(repository.hasBlob(blob.descriptor)).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });
});

describe('a redirect', () => {
  it('has a length of its own, which is not that of the blob', async () => {
    const { registry, repository } = await stored();
    expect(await repository.hasBlob(blob.descriptor)).toBe(true);
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('existed');
    expect(atStorage(registry)).toEqual(['HEAD 200', 'HEAD 200']);
  });

  it('to a URL that is signed for GET alone is asked for one byte', async () => {
    const { registry, repository } = await stored(blob.bytes, {
      redirectBlobs: true,
      signsGetOnly: true,
      auth: 'bearer',
    });
    expect(await repository.hasBlob(blob.descriptor)).toBe(true);
    expect(atStorage(registry)).toEqual(['HEAD 403', 'GET 206']);
    expect(registry.requests.at(-1)?.headers.range).toBe('bytes=0-0');
  });

  it('is not followed where no size is known to compare with', async () => {
    const { registry, repository } = await stored();
    expect(await repository.hasBlob({ digest: blob.descriptor.digest })).toBe(true);
    expect(atStorage(registry)).toEqual([]);
  });

  it.each([true, false])('to a damaged blob is no yes (storage answers HEAD: %s)', async (answersHead) => {
    const traits = { redirectBlobs: true, signsGetOnly: !answersHead };
    const { registry, repository } = await stored(blob.bytes.subarray(1), traits);
    expect(await repository.hasBlob(blob.descriptor)).toBe(false);
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.repository('team/cache').blobs.get(blob.descriptor.digest)).toEqual(blob.bytes);
    expect(await repository.hasBlob(blob.descriptor)).toBe(true);
  });

  it('to where nothing lies any more is no yes', async () => {
    const { registry, repository } = await stored();
    registry.inject({ at: 'storage', times: 2, act: { type: 'answer', status: 404 } });
    expect(await repository.hasBlob(blob.descriptor)).toBe(false);
  });

  it('to storage in trouble leaves it at the word of the registry', async () => {
    const { registry, repository, retries } = await stored();
    registry.inject({ at: 'storage', times: 2, act: { type: 'answer', status: 503 } });
    expect(await repository.hasBlob(blob.descriptor)).toBe(true);
    expect(retries).toEqual([]);
  });

  it('to an empty blob is a yes', async () => {
    const { registry, repository } = await openRepository({ redirectBlobs: true, signsGetOnly: true });
    const empty = blobOf('');
    registry.repository('team/cache').blobs.set(empty.descriptor.digest, empty.bytes);
    expect(await repository.hasBlob(empty.descriptor)).toBe(true);
  });
});

it('a blob of another size is not there, and is pushed again', async () => {
  const { registry, repository } = await stored(blob.bytes.subarray(1), {});
  expect(await repository.hasBlob(blob.descriptor)).toBe(false);
  expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
  expect(registry.repository('team/cache').blobs.get(blob.descriptor.digest)).toEqual(blob.bytes);
});

it('a session that is answered with 201 at once is not believed without asking', async () => {
  const { registry, repository } = await openRepository();
  registry.inject({ method: 'POST', act: { type: 'answer', status: 201 } });
  await expect(repository.pushBlob(blob.descriptor, blob.open)).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
});

describe('a blob that is relied on', () => {
  const GET = /\/blobs\/sha256:/;

  it('is not there when it cannot be read, whatever HEAD says', async () => {
    const { registry, repository } = await stored(blob.bytes, {});
    registry.inject({ method: 'GET', path: GET, act: { type: 'cut', bytes: 0, how: 'reset' } });
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('PUT', /uploads/)).toBe(1);
  });

  it.each<[string, FaultAct]>([
    ['has one byte read', { type: 'status', status: 206 }],
    ['has but its beginning read where ranges are ignored', { type: 'ignore-range' }],
    ['is there by the word of a registry in trouble', { type: 'answer', status: 503 }],
  ])('%s', async (_what, act) => {
    const { registry, repository } = await stored(blob.bytes, {});
    registry.inject({ method: 'GET', path: GET, act });
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('existed');
    const [get] = registry.requests.filter(({ method }) => method === 'GET');
    expect(get?.headers.range).toBe('bytes=0-0');
    expect(registry.count('POST')).toBe(0);
  });
});

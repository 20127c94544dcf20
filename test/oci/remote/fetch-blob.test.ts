import { describe, expect, it } from 'vitest';
import { ghcrRateLimit, PROFILES } from '../../support/fake-registry-faults.ts';
import { type Blob, blobOf, type OpenRepository, openRepository, randomBlob, readAll } from './open-repository.ts';

const BLOB = /\/blobs\/sha256:/;
const MIB = 1024 * 1024;

async function openWithBlob(blob: Blob, ...args: Parameters<typeof openRepository>): Promise<OpenRepository> {
  const opened = await openRepository(...args);
  await opened.repository.pushBlob(blob.descriptor, blob.open);
  opened.registry.requests.length = 0;
  return opened;
}

describe('fetching a blob', () => {
  it('never lets a credential reach another origin', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob, PROFILES.ghcr);
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    const asked = registry.requests.filter(({ path }) => path.includes(blob.descriptor.digest));
    expect(asked.map(({ at, headers }) => [at, headers.authorization !== undefined]).sort()).toEqual([
      ['registry', true],
      ['storage', false],
    ]);
  });

  it('goes on where a broken body stopped, through the registry again', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository, retries } = await openWithBlob(blob, { ...PROFILES.ghcr, signedUrlUses: 1 });
    registry.inject({ at: 'storage', act: { type: 'cut', bytes: 300_000, how: 'reset' } });
    registry.inject({ at: 'storage', act: { type: 'cut', bytes: 200_000, how: 'reset' } });
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    const fromStorage = registry.requests.filter(({ at }) => at === 'storage');
    const starts = fromStorage.map(({ headers }) => headers.range).filter((range) => range !== undefined);
    expect(starts).toEqual([`bytes=300000-${MIB - 1}`, `bytes=500000-${MIB - 1}`]);
    expect(registry.count('GET', BLOB)).toBeGreaterThanOrEqual(3);
    expect(retries).toHaveLength(2);
  });

  it('notices a body that ends too early as if that were all', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'cut', bytes: 1000, how: 'end' } });
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    await expect.poll(() => registry.count('GET', BLOB)).toBe(2);
  });

  it('skips what it has when a server ignores the range of a resumption', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'cut', bytes: 700_001, how: 'reset' } });
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'ignore-range' } });
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
  });

  it('gives up after five times without one new byte', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository, clock } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, times: 1, act: { type: 'cut', bytes: 1000, how: 'reset' } });
    registry.inject({ method: 'GET', path: BLOB, times: 100, act: { type: 'cut', bytes: 0, how: 'reset' } });
    const stream = await repository.fetchBlob(blob.descriptor);
    await expect(readAll(stream)).rejects.toMatchObject({ code: 'ERR_NETWORK' });
    await expect.poll(() => registry.count('GET', BLOB)).toBe(5);
    expect(clock.sleeps).toEqual([250, 500, 1000, 2000]);
  });

  it('refuses a resumption that answers with other bytes', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'cut', bytes: 1000, how: 'reset' } });
    const headers = { 'content-range': `bytes 0-${MIB - 1}/${MIB}` };
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'answer', status: 206, headers, body: 'x' } });
    const stream = await repository.fetchBlob(blob.descriptor);
    await expect(readAll(stream)).rejects.toMatchObject({ code: 'ERR_REGISTRY', message: /asked for bytes from 1000/ });
  });

  it('asks again when the storage host says 403 or 404: that is about its URL, not about the blob', async () => {
    const blob = randomBlob(1000);
    const { registry, repository, retries } = await openWithBlob(blob, PROFILES.ghcr);
    for (const status of [403, 404, 503]) {
      const headers = { 'content-type': 'application/xml' };
      registry.inject({ at: 'storage', act: { type: 'answer', status, headers, body: '<Error/>' } });
    }
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    expect(retries.map(({ error }) => error)).toMatchObject([{ status: 403 }, { status: 404 }, { status: 503 }]);
    expect(retries.every(({ error }) => !error.message.includes('sig=') || error.message.includes('sig=***'))).toBe(
      true,
    );
  });

  it('says that a blob is not there when the registry says so', async () => {
    const { repository, retries } = await openWithBlob(blobOf('there'), PROFILES.ghcr);
    const absent = repository.fetchBlob(blobOf('not there').descriptor);
    await expect(absent).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    expect(retries).toEqual([]);
  });

  it('ends in an error, and never gives out all bytes, when one of them is wrong', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'corrupt' } });
    const stream = await repository.fetchBlob(blob.descriptor);
    let size = 0;
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
    });
    await expect(new Promise((_, reject) => stream.once('error', reject))).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
    expect(size).toBeLessThan(MIB);
  });

  it('refuses at once a blob whose length is not the one asked for', async () => {
    const blob = randomBlob(1000);
    const { repository } = await openWithBlob(blob);
    const other = { ...blob.descriptor, size: 999 };
    await expect(repository.fetchBlob(other)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });

  it('waits for a rate limit before the first byte', async () => {
    const blob = blobOf('hello');
    const { registry, repository, clock } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: ghcrRateLimit('1.889377ms') });
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
    expect(clock.sleeps).toEqual([251.889377]);
  });

  it('frees the connection of a reader that has had enough', async () => {
    const blob = randomBlob(8 * MIB);
    const { registry, repository } = await openWithBlob(blob);
    const stream = await repository.fetchBlob(blob.descriptor);
    await new Promise((resolve) => stream.once('readable', resolve));
    stream.destroy();
    // The fake records a request when its connection has ended.
    await expect.poll(() => registry.count('GET', BLOB)).toBe(1);
  });
});

describe('fetching a range', () => {
  it('asks for one range', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob, PROFILES.ghcr);
    const range = { offset: 1000, length: 2000 };
    const bytes = await readAll(await repository.fetchBlob(blob.descriptor, { range }));
    expect(bytes).toEqual(blob.bytes.subarray(1000, 3000));
    expect(registry.requests.find(({ at }) => at === 'storage')?.headers.range).toBe('bytes=1000-2999');
  });

  it('cuts the range out when a server sends everything', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'ignore-range' } });
    const range = { offset: 500_000, length: 100_000 };
    const bytes = await readAll(await repository.fetchBlob(blob.descriptor, { range }));
    expect(bytes).toEqual(blob.bytes.subarray(500_000, 600_000));
  });

  it('resumes within the range', async () => {
    const blob = randomBlob(MIB);
    const { registry, repository } = await openWithBlob(blob);
    registry.inject({ method: 'GET', path: BLOB, act: { type: 'cut', bytes: 60_000, how: 'reset' } });
    const range = { offset: 500_000, length: 100_000 };
    const bytes = await readAll(await repository.fetchBlob(blob.descriptor, { range }));
    expect(bytes).toEqual(blob.bytes.subarray(500_000, 600_000));
    const second = registry.requests.filter(({ headers }) => headers.range === 'bytes=560000-599999');
    expect(second).toHaveLength(1);
  });
});

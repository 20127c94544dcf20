import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { NixcacheError } from '../../../src/errors.ts';
import { ghcrRateLimit, PROFILES } from '../../support/fake-registry-faults.ts';
import { blobOf, nobody, openRepository, randomBlob, readAll } from './open-repository.ts';

const UPLOAD = /\/blobs\/uploads\//;
const MIB = 1024 * 1024;

describe('pushing a blob', () => {
  it('asks by HEAD, opens a session and sends one PUT of known length', async () => {
    const { registry, repository } = await openRepository();
    const blob = randomBlob(MIB);
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.requests.map(({ method, status }) => `${method} ${status}`)).toEqual([
      'HEAD 404',
      'POST 202',
      'PUT 201',
    ]);
    expect(registry.requests.at(-1)?.headers['content-length']).toBe(String(MIB));
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
  });

  it('sends nothing that is there', async () => {
    const { registry, repository } = await openRepository({ redirectBlobs: true });
    const blob = blobOf('hello');
    await repository.pushBlob(blob.descriptor, blob.open);
    const opened = { times: 0 };
    const again = repository.pushBlob(blob.descriptor, () => {
      opened.times += 1;
      return blob.open();
    });
    expect(await again).toBe('existed');
    expect(opened.times).toBe(0);
    expect(registry.count('POST')).toBe(1);
    // For its size: the redirect itself says only where it lies.
    expect(registry.requests.filter(({ at }) => at === 'storage').map(({ method }) => method)).toEqual(['HEAD']);
  });

  it('pushes nothing at all as an empty blob', async () => {
    const { repository } = await openRepository();
    const blob = blobOf('');
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(await readAll(await repository.fetchBlob(blob.descriptor))).toEqual(blob.bytes);
  });

  it.each([
    ['small', 5],
    ['large', MIB],
  ])('stops before the last byte of a %s blob when its digest is wrong, and does not retry', async (_, size) => {
    const { registry, repository, retries } = await openRepository();
    const { descriptor } = randomBlob(size);
    const other = randomBlob(size);
    await expect(repository.pushBlob(descriptor, other.open)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(registry.repository('team/cache').blobs.size).toBe(0);
    expect(registry.requests.filter(({ status, method }) => method === 'PUT' && status < 300)).toEqual([]);
    expect(retries).toEqual([]);
  });

  it('leaves the check of what its owner has hashed to the registry, which stores nothing wrong', async () => {
    const { registry, repository } = await openRepository();
    const { descriptor } = randomBlob(MIB);
    const other = randomBlob(MIB);
    await expect(repository.pushBlob(descriptor, other.open, { isHashed: true })).rejects.toMatchObject({
      code: 'ERR_REGISTRY',
    });
    expect(registry.repository('team/cache').blobs.size).toBe(0);
    expect(registry.requests.some(({ method, status }) => method === 'PUT' && status === 400)).toBe(true);
  });

  it.each([-1, 1])('stores nothing when there are %i bytes more than said', async (more) => {
    const { registry, repository } = await openRepository();
    const blob = randomBlob(MIB);
    const descriptor = { ...blob.descriptor, size: blob.descriptor.size - more };
    await expect(repository.pushBlob(descriptor, blob.open)).rejects.toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(registry.repository('team/cache').blobs.size).toBe(0);
  });

  it('passes on what the content ended in, as it is', async () => {
    const { repository, retries } = await openRepository();
    const blob = randomBlob(MIB);
    const broken = new NixcacheError('ERR_NAR_MISMATCH', 'read /nix/store/x: changed under our hands');
    const open = () =>
      Readable.from(
        (async function* () {
          yield blob.bytes.subarray(0, 300_000);
          throw broken;
        })(),
        { objectMode: false },
      );
    await expect(repository.pushBlob(blob.descriptor, open)).rejects.toBe(broken);
    const unreadable = repository.pushBlob(blob.descriptor, () => createReadStream('/nonexistent/file'));
    await expect(unreadable).rejects.toMatchObject({ code: 'ENOENT' });
    expect(retries).toEqual([]);
  });

  it('never sends into a session twice: a retry opens a new one, and the content again', async () => {
    const { registry, repository, retries } = await openRepository();
    const blob = randomBlob(2 * MIB);
    registry.inject({ method: 'PUT', path: UPLOAD, act: { type: 'reset', bytes: MIB } });
    registry.inject({ method: 'PUT', path: UPLOAD, act: { type: 'answer', status: 502 } });
    const streams: Readable[] = [];
    const open = () => {
      const stream = blob.open();
      streams.push(stream);
      return stream;
    };
    expect(await repository.pushBlob(blob.descriptor, open)).toBe('pushed');
    expect(retries).toHaveLength(2);
    expect(registry.count('POST', UPLOAD)).toBe(3);
    const sessions = registry.requests.filter(({ method }) => method === 'PUT').map(({ path }) => path);
    expect(new Set(sessions).size).toBe(3);
    expect(streams).toHaveLength(3);
    expect(streams.every(({ destroyed }) => destroyed)).toBe(true);
  });

  it('does not upload again what arrived although the answer was lost', async () => {
    const { registry, repository } = await openRepository();
    registry.inject({ method: 'PUT', path: UPLOAD, act: { type: 'lose-answer' } });
    const blob = randomBlob(MIB);
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('PUT', UPLOAD)).toBe(1);
  });

  it('begins anew when the registry has lost the session', async () => {
    const { registry, repository } = await openRepository();
    const body = JSON.stringify({
      errors: [{ code: 'BLOB_UPLOAD_UNKNOWN', message: 'blob upload unknown to registry' }],
    });
    registry.inject({ method: 'PUT', path: UPLOAD, act: { type: 'answer', status: 404, body } });
    const blob = blobOf('hello');
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('POST', UPLOAD)).toBe(2);
  });

  it('waits as long as GHCR asks in the text of its error', async () => {
    const { registry, repository, clock, retries } = await openRepository();
    registry.inject({ method: 'POST', path: UPLOAD, act: ghcrRateLimit('2m3.5s') });
    const blob = blobOf('hello');
    await repository.pushBlob(blob.descriptor, blob.open);
    expect(clock.sleeps).toEqual([123_500 + 250]);
    expect(retries[0]).toMatchObject({ asked: true, attempt: 1, error: { status: 429 } });
  });

  it('gives up with the last answer, the number of attempts and the place', async () => {
    const { registry, repository } = await openRepository({}, { kind: 'ghcr' });
    registry.inject({ method: 'POST', times: 100, act: { type: 'answer', status: 503, body: 'overloaded' } });
    const blob = blobOf('hello');
    await expect(repository.pushBlob(blob.descriptor, blob.open)).rejects.toMatchObject({
      code: 'ERR_REGISTRY',
      status: 503,
      attempts: 8,
      message: expect.stringContaining(
        `POST http://${registry.host}/v2/team/cache/blobs/uploads/: 503 overloaded; the regis`,
      ),
    });
  });

  it('says at once what a refusal means, and does not retry it', async () => {
    const { registry, repository, retries } = await openRepository({}, { kind: 'ghcr' });
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'permission_denied: write_package' }] });
    registry.inject({ method: 'POST', act: { type: 'answer', status: 403, body } });
    const blob = blobOf('hello');
    await expect(repository.pushBlob(blob.descriptor, blob.open)).rejects.toMatchObject({
      code: 'ERR_FORBIDDEN',
      message: `POST http://${registry.host}/v2/team/cache/blobs/uploads/: 403 DENIED permission_denied: write_package; does the token have write:packages, and is the package linked to this repository?`,
    });
    expect(retries).toEqual([]);
  });

  it('confirms by HEAD what the registry has only taken', async () => {
    const { registry, repository } = await openRepository();
    registry.inject({ method: 'PUT', act: { type: 'status', status: 202 } });
    const blob = blobOf('hello');
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('HEAD')).toBe(2);
  });

  it('sends large blobs to Docker Hub by one streamed PATCH and an empty PUT', async () => {
    const { registry, repository } = await openRepository(PROFILES.hub, { kind: 'hub' });
    const blob = randomBlob(2 * MIB);
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.count('PATCH')).toBe(1);
    expect(registry.repository('team/cache').blobs.get(blob.descriptor.digest)).toEqual(blob.bytes);
  });

  it('refuses a Location on another host without TLS', async () => {
    const { registry, repository } = await openRepository();
    registry.inject({
      method: 'POST',
      act: { type: 'answer', status: 202, headers: { location: 'http://evil.example/up' } },
    });
    const blob = blobOf('hello');
    await expect(repository.pushBlob(blob.descriptor, blob.open)).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it('keeps its credentials from a Location on another origin', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    const location = `http://${registry.storageHost}/elsewhere`;
    registry.inject({ method: 'POST', path: UPLOAD, act: { type: 'answer', status: 202, headers: { location } } });
    registry.inject({ at: 'storage', method: 'PUT', act: { type: 'answer', status: 201 } });
    const blob = blobOf('hello');
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    const elsewhere = registry.requests.filter(({ at }) => at === 'storage');
    expect(elsewhere).toHaveLength(1);
    expect(elsewhere[0]?.headers.authorization).toBeUndefined();
  });

  it('stops when asked to, with the reason, and closes the content', async () => {
    const { repository } = await openRepository({ latencyMs: 20 });
    const blob = randomBlob(8 * MIB);
    const abort = new AbortController();
    const reason = new NixcacheError('ERR_INTERRUPTED', 'interrupted');
    let stream: Readable | undefined;
    const open = () => {
      stream = blob.open();
      setTimeout(() => abort.abort(reason), 1);
      return stream;
    };
    await expect(repository.pushBlob(blob.descriptor, open, { signal: abort.signal })).rejects.toBe(reason);
    expect(stream?.destroyed).toBe(true);
  });

  it('pushes many small blobs at once over few connections', async () => {
    const { registry, repository } = await openRepository({ latencyMs: 5, auth: 'bearer' });
    const blobs = Array.from({ length: 200 }, (_, index) => blobOf(`blob ${index}`));
    await Promise.all(blobs.map(({ descriptor, open }) => repository.pushBlob(descriptor, open)));
    expect(registry.repository('team/cache').blobs.size).toBe(200);
    expect(registry.peak).toBeLessThanOrEqual(64);
    // 601 requests, 32 at once of each sort.
    expect(new Set(registry.requests.map(({ port }) => port)).size).toBeLessThanOrEqual(70);
  });
});

describe('the question whether one may push', () => {
  it('begins an upload and calls it off', async () => {
    const { registry, repository } = await openRepository();
    await repository.checkWrite();
    expect(registry.requests.map(({ method }) => method)).toEqual(['POST', 'DELETE']);
  });

  it('does without the second where registries do not call off', async () => {
    const { registry, repository } = await openRepository({}, { kind: 'ghcr' });
    await repository.checkWrite();
    expect(registry.requests.map(({ method }) => method)).toEqual(['POST']);
  });

  it('is answered by a refusal, tried once', async () => {
    const { repository, retries } = await openRepository({ auth: 'bearer', publicRead: true }, { credentials: nobody });
    await expect(repository.checkWrite()).rejects.toMatchObject({
      code: expect.stringMatching(/ERR_(UNAUTHORIZED|FORBIDDEN)/),
    });
    expect(retries).toEqual([]);
  });
});

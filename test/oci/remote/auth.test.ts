import { describe, expect, it } from 'vitest';
import { IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { parseChallenge } from '../../../src/oci/remote/challenge.ts';
import { FAKE_IDENTITY_TOKEN } from '../../support/fake-registry-auth.ts';
import { blobOf, manifestOf, nobody, openRepository, publisher, randomBlob, readAll } from './open-repository.ts';

const TOKEN = /^\/token/;
/** A body that stalls ends after a minute of itself. */
const WITHIN_A_STALL = { timeout: 30_000 };

describe('authorization', () => {
  it('sends no credential before it is asked for one', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    await repository.listTags();
    expect(registry.requests[0]).toMatchObject({ status: 401 });
    expect(registry.requests[0]?.headers.authorization).toBeUndefined();
  });

  it('fetches one token for many requests that start together', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    await Promise.all(Array.from({ length: 20 }, () => repository.listTags()));
    expect(registry.count('GET', TOKEN)).toBe(1);
  });

  it('goes on to fetch a token for others when who began has left', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer', latencyMs: 50 });
    const first = new AbortController();
    const began = repository.listTags({ signal: first.signal });
    const joined = repository.listTags({ signal: new AbortController().signal });
    await expect.poll(() => registry.count('GET', /tags/)).toBe(2);
    first.abort(new Error('left'));
    await expect(began).rejects.toThrow('left');
    expect(await joined).toEqual([]);
    expect(registry.count('GET', TOKEN)).toBe(1);
  });

  it(
    'gives up fetching a token when the last who waited has left, and begins anew for the next',
    WITHIN_A_STALL,
    async () => {
      const { registry, repository } = await openRepository({ auth: 'bearer' });
      const asked = Promise.withResolvers<void>();
      registry.luck = (_, { pathname }) => {
        if (!TOKEN.test(pathname)) return undefined;
        asked.resolve();
        return { type: 'stall', bytes: 3 };
      };
      const callers = [new AbortController(), new AbortController()];
      const waiting = callers.map(({ signal }) => repository.listTags({ signal }));
      await asked.promise;
      registry.calm();
      for (const [at, caller] of callers.entries()) {
        caller.abort(new Error('left'));
        await expect(waiting[at]).rejects.toThrow('left');
      }
      // The fake records a request when its connection has ended.
      await expect.poll(() => registry.count('GET', TOKEN)).toBe(1);
      expect(await repository.listTags()).toEqual([]);
      expect(registry.count('GET', TOKEN)).toBe(2);
    },
  );

  it('gives up looking for credentials when the last who waited has left, and looks again for the next', async () => {
    const signals: (AbortSignal | undefined)[] = [];
    const credentials: typeof publisher = (request) => {
      signals.push(request.signal);
      return signals.length === 1
        ? new Promise((_, reject) => request.signal?.addEventListener('abort', reject))
        : publisher(request);
    };
    const { repository } = await openRepository({ auth: 'bearer' }, { credentials });
    const caller = new AbortController();
    const left = repository.listTags({ signal: caller.signal });
    await expect.poll(() => signals.length).toBe(1);
    caller.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect(signals[0]?.aborted).toBe(true);
    expect(await repository.listTags()).toEqual([]);
  });

  it('reads with the token it pushes with', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    const blob = blobOf('hello');
    await repository.pushBlob(blob.descriptor, blob.open);
    await repository.hasBlob(blob.descriptor);
    await repository.pushManifest('tag', IMAGE_MANIFEST, manifestOf(blob.descriptor));
    expect(
      registry.requests
        .filter(({ path }) => TOKEN.test(path))
        .map(({ path }) => new URLSearchParams(path.slice(7)).get('scope')),
    ).toEqual(['repository:team/cache:pull,push']);
  });

  it('renews a token that is refused mid-way, once for all, and goes on', async () => {
    const { registry, repository, retries } = await openRepository({ auth: 'bearer' });
    const blob = blobOf('hello');
    await repository.pushBlob(blob.descriptor, blob.open);
    registry.revokeTokens();
    registry.requests.length = 0;
    const blobs = await Promise.all(
      Array.from({ length: 10 }, () => repository.fetchBlob(blob.descriptor).then(readAll)),
    );
    expect(blobs).toEqual(Array.from({ length: 10 }, () => blob.bytes));
    expect(registry.count('GET', TOKEN)).toBe(1);
    expect(retries).toEqual([]);
  });

  it('begins an upload anew whose token ran out between POST and PUT', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    const blob = randomBlob(1024 * 1024);
    let opened = 0;
    const open = () => {
      opened += 1;
      if (opened === 1) registry.revokeTokens();
      return blob.open();
    };
    expect(await repository.pushBlob(blob.descriptor, open)).toBe('pushed');
    expect(opened).toBe(2);
    expect(registry.count('POST', /uploads/)).toBe(2);
  });

  it('does not wait for a refusal of a token whose end it knows', async () => {
    const { registry, repository, clock } = await openRepository({ auth: 'bearer', tokenLifetimeSeconds: 300 });
    await repository.listTags();
    clock.advance(295_000);
    await repository.listTags();
    expect(registry.count('GET', TOKEN)).toBe(2);
    expect(registry.requests.filter(({ status }) => status === 401)).toHaveLength(1);
  });

  it('stops at the second 401 with a hint', async () => {
    const { registry, repository, retries } = await openRepository({ auth: 'bearer' }, { credentials: nobody });
    await expect(repository.listTags()).rejects.toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      message: expect.stringContaining(`docker login ${registry.host}`),
    });
    expect(retries).toEqual([]);
    expect(registry.count('GET', /tags/)).toBe(2);
  });

  it('reads a public repository as no one', async () => {
    const { repository } = await openRepository({ auth: 'bearer', publicRead: true }, { credentials: nobody });
    const absent = await repository.fetchManifest('tag');
    expect(absent).toBeUndefined();
  });

  it('reads a public repository although its credentials are refused', async () => {
    const wrong = async () => ({ type: 'basic', username: 'publisher', password: 'expired' }) as const;
    const { repository } = await openRepository({ auth: 'bearer', publicRead: true }, { credentials: wrong });
    expect(await repository.listTags()).toEqual([]);
    const blob = blobOf('hello');
    await expect(repository.pushBlob(blob.descriptor, blob.open)).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
  });

  it('exchanges an identity token by POST', async () => {
    const credentials = async () => ({ type: 'identity-token', token: FAKE_IDENTITY_TOKEN }) as const;
    const { registry, repository } = await openRepository({ auth: 'bearer' }, { credentials });
    expect(await repository.listTags()).toEqual([]);
    expect(registry.count('POST', TOKEN)).toBe(1);
  });

  it('uses Basic where that is asked for', async () => {
    const { registry, repository } = await openRepository({ auth: 'basic' });
    const blob = blobOf('hello');
    expect(await repository.pushBlob(blob.descriptor, blob.open)).toBe('pushed');
    expect(registry.requests.filter(({ status }) => status === 401)).toHaveLength(1);
  });

  it('never shows a secret in an error', async () => {
    const { registry, repository } = await openRepository({ auth: 'bearer' });
    registry.inject({ method: 'GET', path: TOKEN, act: { type: 'answer', status: 403, body: '{}' } });
    const error = await repository
      .pushBlob(blobOf('x').descriptor, blobOf('x').open)
      .catch((thrown: unknown) => thrown);
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('s3cret');
  });

  it.each(['http://evil.example/token', 'nonsense'])('does not take its credentials to %s', async (realm) => {
    let asked = 0;
    const credentials: typeof publisher = async (request) => {
      asked += 1;
      return publisher(request);
    };
    const { registry, repository } = await openRepository({}, { credentials });
    const headers = { 'www-authenticate': `Bearer realm="${realm}",service="x"` };
    registry.inject({ times: 10, act: { type: 'answer', status: 401, headers } });
    await expect(repository.listTags()).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
    expect(asked).toBeLessThanOrEqual(1);
  });
});

describe('challenges', () => {
  it.each([
    ['Basic realm="x"', { scheme: 'basic' }],
    [
      'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:o/r:pull,push"',
      { scheme: 'bearer', realm: 'https://ghcr.io/token', service: 'ghcr.io', scope: 'repository:o/r:pull,push' },
    ],
    [
      'bearer realm=https://a.example/t',
      { scheme: 'bearer', realm: 'https://a.example/t', service: undefined, scope: undefined },
    ],
    [
      'Negotiate, Basic realm="a, b=\\"c\\"", Bearer realm="https://t"',
      { scheme: 'bearer', realm: 'https://t', service: undefined, scope: undefined },
    ],
    ['Negotiate', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('reads %s', (header, challenge) => {
    expect(parseChallenge(header)).toEqual(challenge);
  });
});

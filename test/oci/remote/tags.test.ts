import { describe, expect, it } from 'vitest';
import { IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import { PROFILES } from '../../support/fake-registry-faults.ts';
import { blobOf, manifestOf, type OpenRepository, openRepository } from './open-repository.ts';

const TAGS = /\/tags\/list/;

async function openWithTags(
  names: readonly string[],
  ...args: Parameters<typeof openRepository>
): Promise<OpenRepository> {
  const opened = await openRepository(...args);
  const config = blobOf('{}');
  await opened.repository.pushBlob(config.descriptor, config.open);
  await Promise.all(
    names.map((tag) => opened.repository.pushManifest(tag, IMAGE_MANIFEST, manifestOf(config.descriptor))),
  );
  return opened;
}

describe('listing tags', () => {
  const names = Array.from({ length: 250 }, (_, index) => `seg-${(index * 7919) % 250}`);

  it('follows Link through pages of 100 in order of creation', async () => {
    const { registry, repository } = await openWithTags(names, PROFILES.ghcr);
    expect((await repository.listTags()).sort()).toEqual([...names].sort());
    expect(registry.count('GET', TAGS)).toBe(3);
  });

  it('asks for as many a page as the kind of registry gives', async () => {
    const { registry, repository } = await openWithTags(names);
    expect(await repository.listTags()).toHaveLength(250);
    expect(registry.count('GET', /n=1000/)).toBe(1);
  });

  it('finds no tags in a repository that the registry does not know', async () => {
    const { repository } = await openRepository();
    expect(await repository.listTags()).toEqual([]);
  });

  it.each([
    [403, 'application/json', '{"errors":[{"code":"DENIED"}]}', 'ERR_FORBIDDEN'],
    [404, 'text/html', '<html>not here</html>', 'ERR_REGISTRY'],
    [400, 'application/json', '{}', 'ERR_REGISTRY'],
    [200, 'text/html', '<html>welcome</html>', 'ERR_REGISTRY'],
  ])('is an error, not an empty list, when %i %s is the answer', async (status, type, body, code) => {
    const { registry, repository } = await openRepository();
    registry.inject({ act: { type: 'answer', status, headers: { 'content-type': type }, body } });
    await expect(repository.listTags()).rejects.toMatchObject({ code });
  });

  it('is an error when the registry stays broken', async () => {
    const { registry, repository } = await openRepository();
    registry.inject({ times: 100, act: { type: 'answer', status: 500 } });
    await expect(repository.listTags()).rejects.toMatchObject({ code: 'ERR_REGISTRY', attempts: 8 });
  });

  it('takes null for no tags', async () => {
    const { registry, repository } = await openRepository();
    registry.inject({ act: { type: 'answer', status: 200, body: '{"name":"team/cache","tags":null}' } });
    expect(await repository.listTags()).toEqual([]);
  });

  it('does not go in circles', async () => {
    const { registry, repository } = await openRepository();
    const headers = { link: '</v2/team/cache/tags/list?n=1000>; rel="next"' };
    registry.inject({ times: 100, act: { type: 'answer', status: 200, headers, body: '{"tags":["a"]}' } });
    await expect(repository.listTags()).rejects.toMatchObject({ code: 'ERR_REGISTRY', message: /circle/ });
    expect(registry.count('GET')).toBe(1);
  });

  it('does not follow a Link to another registry', async () => {
    const { registry, repository } = await openRepository();
    const headers = { link: '<https://evil.example/v2/team/cache/tags/list>; rel="next"' };
    registry.inject({ act: { type: 'answer', status: 200, headers, body: '{"tags":["a"]}' } });
    await expect(repository.listTags()).rejects.toMatchObject({ code: 'ERR_REGISTRY', message: /another registry/ });
  });
});

describe('a registry whose list of tags does not end', () => {
  const json = { 'content-type': 'application/json' };
  const page = (tags: readonly string[], next: number) => ({
    act: {
      type: 'answer' as const,
      ...{ status: 200, headers: { ...json, link: `</v2/o/r/tags/list?last=${next}>; rel="next"` } },
      body: JSON.stringify({ name: 'o/r', tags }),
    },
  });

  it.each([
    ['brings the same tags at fresh URLs', () => ['a', 'b']],
    ['brings nothing at fresh URLs', () => []],
    ['brings what cannot be tags', (n: number) => [`${n}`.repeat(200)]],
  ])('is an error when it %s', async (_, tagsOf) => {
    const { registry, repository } = await openRepository();
    for (let n = 0; n < 20; n++) registry.inject(page(tagsOf(n), n));
    await expect(repository.listTags()).rejects.toMatchObject({
      code: 'ERR_REGISTRY',
      message: expect.stringContaining('leads in a circle'),
    });
    expect(registry.count('GET', TAGS)).toBeLessThan(12);
  });

  it('is an error when there are more than any cache has', async () => {
    const { registry, repository } = await openRepository();
    for (let n = 0; n < 5; n++) {
      registry.inject(
        page(
          Array.from({ length: 50_000 }, (_, i) => `t-${n}-${i}`),
          n,
        ),
      );
    }
    await expect(repository.listTags()).rejects.toMatchObject({
      code: 'ERR_REGISTRY',
      message: expect.stringContaining('more than 200000 tags'),
    });
  });
});

/** Where blobs lie, for others who are to fetch them there. */
import { expect, it } from 'vitest';
import { openRepository, publisher, randomBlob } from './open-repository.ts';

const blob = randomBlob(1000);

async function stored(traits: object) {
  const opened = await openRepository({ auth: 'bearer', ...traits }, { credentials: publisher });
  opened.registry.repository('team/cache').blobs.set(blob.descriptor.digest, blob.bytes);
  return opened;
}

it('is the URL that the registry signs, which works without a credential', async () => {
  const { repository } = await stored({ redirectBlobs: true });
  const url = await repository.locateBlob(blob.descriptor);
  expect(url?.search).toContain('sig=');
  const answer = await fetch(url ?? '');
  expect(Buffer.from(await answer.arrayBuffer())).toEqual(blob.bytes);
});

it('is nowhere else where the registry gives blobs itself, which it is then not asked again for a while', async () => {
  const { repository, registry, clock } = await stored({});
  const asked = (): number =>
    registry.requests.filter(({ path, status }) => path.includes('/blobs/') && status === 200).length;
  for (let i = 0; i < 3; i++) expect(await repository.locateBlob(blob.descriptor)).toBeUndefined();
  expect(asked()).toBe(1);
  clock.advance(600_001);
  await repository.locateBlob(blob.descriptor);
  expect(asked()).toBe(2);
});

it.each([
  ['the registry itself', (host: string) => `http://${host}/v2/team/cache/other`],
  ['nowhere at all', () => '/v2/x'],
  ['a login', () => 'http://me:pw@127.0.0.2/blob?sig=x'],
  ['a part of a page', () => 'http://127.0.0.2/blob#sig=x'],
])('is not told where a redirect names %s', async (_, locationAt) => {
  const { repository, registry } = await stored({});
  const location = locationAt(registry.host);
  registry.inject({ method: 'GET', path: /\/blobs\//, act: { type: 'answer', status: 307, headers: { location } } });
  expect(await repository.locateBlob(blob.descriptor)).toBeUndefined();
});

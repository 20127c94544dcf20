/** What registries say of what they do not have, and what others say in their place. */
import { describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { openRepository } from './open-repository.ts';

const digest = digestOf(Buffer.from('x'));
const refusal = (code: string, message = ''): string => JSON.stringify({ errors: [{ code, message }] });

/** distribution, zot, GHCR, ECR, Quay, Gitea and Hub use the specification's codes. */
const ABSENT = [
  ['NAME_UNKNOWN', refusal('NAME_UNKNOWN', 'repository name not known to registry')],
  ['MANIFEST_UNKNOWN', refusal('MANIFEST_UNKNOWN', 'manifest unknown')],
  ['Harbor\u2019s code', refusal('NOT_FOUND', 'artifact team/cache:v1 not found')],
] as const;

const NO_WORD = [
  ['nothing', ''],
  ['a page', '<html>nope</html>'],
  ['JSON of something else', '{"message":"no Route matched with those values"}'],
  ['another code', refusal('UNKNOWN', 'unknown error')],
  ['a code that says not found of it knows not what', refusal('NOT_FOUND', 'page not found')],
  ['no errors', '{"errors":[]}'],
] as const;

const asks = (repository: Awaited<ReturnType<typeof openRepository>>['repository']) => ({
  'the list of tags': () => repository.listTags(),
  'a manifest': () => repository.fetchManifest('v1'),
  'a descriptor': () => repository.resolve('v1'),
  'a probe': () => repository.probeRead(),
  'a deletion': () => repository.deleteManifest(digest),
});

describe.each(['the list of tags', 'a manifest', 'a descriptor', 'a probe', 'a deletion'] as const)('%s', (what) => {
  it.each(ABSENT)('is absent when the registry says %s', async (_, body) => {
    const { registry, repository } = await openRepository();
    registry.inject({ times: 2, act: { type: 'answer', status: 404, body } });
    const answer = await asks(repository)[what]();
    expect([[], undefined, 'absent']).toContainEqual(answer);
  });

  it.each(NO_WORD)('is an error when 404 comes with %s', async (_, body) => {
    const { registry, repository } = await openRepository();
    registry.inject({ times: 2, act: { type: 'answer', status: 404, body } });
    await expect(asks(repository)[what]()).rejects.toMatchObject({
      code: 'ERR_REGISTRY',
      message: expect.stringContaining('404'),
    });
  });
});

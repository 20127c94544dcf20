/** Whatever a registry answers, the error says what was asked for, and where. */
import { describe, expect, it } from 'vitest';
import { isNixcacheError } from '../../../src/errors.ts';
import { describe as describeContent } from '../../../src/oci/descriptor.ts';
import { IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import type { FaultAct } from '../../support/fake-registry-faults.ts';
import { blobOf, manifestOf, type OpenRepository, openRepository, randomBlob, readAll } from './open-repository.ts';

const config = blobOf('{}');
const there = randomBlob(2000);
const fresh = randomBlob(300_000);
const bytes = manifestOf(config.descriptor);

interface Operation {
  readonly run: (opened: OpenRepository) => Promise<unknown>;
  readonly method: string;
  readonly path: RegExp;
  /** What the error must name beside the host. */
  readonly name: string;
}

const manifest = (name: string): Pick<Operation, 'path' | 'name'> => ({ path: /\/manifests\//, name });
const blob = { path: /\/blobs\/sha256:/, name: there.descriptor.digest };
const { digest } = describeContent(IMAGE_MANIFEST, bytes);

const READS: Readonly<Record<string, Operation>> = {
  'fetching a manifest by tag': {
    ...{ method: 'GET', ...manifest('some-tag') },
    run: ({ repository }) => repository.fetchManifest('some-tag'),
  },
  'fetching a manifest by digest': {
    ...{ method: 'GET', ...manifest(digest) },
    run: ({ repository }) => repository.fetchManifest(digest),
  },
  'listing tags': {
    ...{ method: 'GET', path: /\/tags\/list/, name: 'tags' },
    run: ({ repository }) => repository.listTags(),
  },
  'fetching a blob': {
    ...{ method: 'GET', ...blob },
    run: async ({ repository }) => readAll(await repository.fetchBlob(there.descriptor)),
  },
  'fetching a blob of unknown size': {
    ...{ method: 'GET', ...blob },
    run: async ({ repository }) => readAll(await repository.fetchBlob({ digest: there.descriptor.digest })),
  },
  'fetching a range': {
    ...{ method: 'GET', ...blob },
    run: async ({ repository }) =>
      readAll(await repository.fetchBlob(there.descriptor, { range: { offset: 1000, length: 100 } })),
  },
};

const html = { 'content-type': 'text/html' };
const type = { 'content-type': IMAGE_MANIFEST };
const other = `sha256:${'1'.repeat(64)}`;
const page = '<html>log in</html>';
const refusal = '{"errors":[{"code":"DENIED","message":"no"}]}';
const READ_FAULTS: Readonly<Record<string, FaultAct>> = {
  'a page for browsers': { type: 'answer', status: 200, headers: html, body: page },
  'an empty body': { type: 'answer', status: 200 },
  'JSON that says nothing': { type: 'answer', status: 200, headers: type, body: '"nothing"' },
  'another digest': { type: 'answer', status: 200, headers: { ...type, 'docker-content-digest': other }, body: '{}' },
  'more than there can be': { type: 'answer', status: 200, headers: html, body: ' '.repeat(33 * 1024 * 1024) },
  'a wrong byte': { type: 'corrupt' },
  'an early end': { type: 'cut', bytes: 0, how: 'end' },
  'a broken connection': { type: 'cut', bytes: 0, how: 'reset' },
  'no connection': { type: 'reset' },
  'another range': { type: 'answer', status: 206, headers: { 'content-range': 'bytes 0-9/2000' }, body: '0123456789' },
  'a range of a shorter blob': {
    ...{ type: 'answer', status: 206, body: '0123456789' },
    headers: { 'content-range': 'bytes 1000-1009/1010' },
  },
  'a refused range': { type: 'answer', status: 416 },
  'a next page elsewhere': {
    ...{ type: 'answer', status: 200, body: '{"name":"team/cache","tags":[]}' },
    headers: { link: '<http://elsewhere.test/v2/team/cache/tags/list>; rel="next"' },
  },
  'a refusal': { type: 'answer', status: 403, body: refusal },
  'trouble for ever': { type: 'answer', status: 503 },
  'a redirect that leads nowhere': { type: 'answer', status: 307, headers: { location: 'http://' } },
};

const WRITES: Readonly<Record<string, Operation & { readonly faults: Readonly<Record<string, FaultAct>> }>> = {
  'resolving a tag': {
    ...{ method: 'HEAD', ...manifest('some-tag') },
    run: ({ repository }) => repository.resolve('some-tag'),
    faults: { 'a refusal': { type: 'answer', status: 403 } },
  },
  'resolving a digest': {
    ...{ method: 'HEAD', ...manifest(digest) },
    run: ({ repository }) => repository.resolve(digest),
    faults: { 'another digest': { type: 'answer', status: 200, headers: { 'docker-content-digest': other } } },
  },
  'looking for a blob': {
    ...{ method: 'HEAD', ...blob },
    run: ({ repository }) => repository.hasBlob(there.descriptor),
    faults: { 'a refusal': { type: 'answer', status: 403 }, 'no connection': { type: 'reset' } },
  },
  'pushing a manifest': {
    ...{ method: 'PUT', ...manifest('some-tag') },
    run: ({ repository }) => repository.pushManifest('some-tag', IMAGE_MANIFEST, bytes),
    faults: {
      'a refusal': { type: 'answer', status: 403, body: refusal },
      'another digest': { type: 'answer', status: 201, headers: { 'docker-content-digest': other } },
    },
  },
  'deleting a manifest': {
    ...{ method: 'DELETE', ...manifest(digest) },
    run: ({ repository }) => repository.deleteManifest(digest),
    faults: { 'a refusal': { type: 'answer', status: 403 }, 'a no': { type: 'answer', status: 405 } },
  },
  'beginning an upload': {
    ...{ method: 'POST', path: /\/uploads\//, name: fresh.descriptor.digest },
    run: ({ repository }) => repository.pushBlob(fresh.descriptor, fresh.open),
    faults: {
      'no place to go on': { type: 'answer', status: 202 },
      'a place that is no URL': { type: 'answer', status: 202, headers: { location: 'http://' } },
      'a place in the open': { type: 'answer', status: 202, headers: { location: 'http://elsewhere.test/upload' } },
      'all done, without a byte': { type: 'answer', status: 201 },
    },
  },
  'ending an upload': {
    ...{ method: 'PUT', path: /\/uploads\//, name: fresh.descriptor.digest },
    run: ({ repository }) => repository.pushBlob(fresh.descriptor, fresh.open),
    faults: {
      'a refusal': { type: 'answer', status: 403, body: refusal },
      'another digest': { type: 'answer', status: 201, headers: { 'docker-content-digest': other } },
      'no connection': { type: 'reset' },
    },
  },
};

/** What the room does not look into: that is for who decodes a manifest, or knows what a range must hold. */
const ACCEPTED = new Set([
  'fetching a manifest by tag, answered with JSON that says nothing',
  'fetching a range, answered with more than there can be',
  'fetching a range, answered with a wrong byte',
]);

const cases = [
  ...Object.entries(READS).flatMap(([doing, operation]) =>
    Object.entries(READ_FAULTS).map(([fault, act]) => ({ doing, fault, act, ...operation })),
  ),
  ...Object.entries(WRITES).flatMap(([doing, { faults, ...operation }]) =>
    Object.entries(faults).map(([fault, act]) => ({ doing, fault, act, ...operation })),
  ),
].filter(({ doing, fault }) => !ACCEPTED.has(`${doing}, answered with ${fault}`));

async function open(...args: Parameters<typeof openRepository>): Promise<OpenRepository> {
  const opened = await openRepository(...args);
  const { repository } = opened;
  for (const each of [config, there]) await repository.pushBlob(each.descriptor, each.open);
  await repository.pushManifest('some-tag', IMAGE_MANIFEST, bytes);
  return opened;
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

it.each(cases)('$doing, answered with $fault', async ({ run, method, path, name, act }) => {
  const opened = await open();
  const { host } = opened.registry;
  opened.registry.inject({ method, path, times: Number.POSITIVE_INFINITY, act });
  const failed = await failureOf(run(opened));
  if (!isNixcacheError(failed)) throw failed ?? new Error('it went well');
  expect(failed.message).toContain(name);
  expect(failed.message).toContain(host);
  expect(failed.message).not.toContain('\n');
});

describe('what storage says to which the registry redirects', () => {
  it.each<readonly [string, FaultAct]>([
    ['a refusal', { type: 'answer', status: 403, body: '<Error/>' }],
    ['no connection', { type: 'reset' }],
    ['a body that breaks off', { type: 'cut', bytes: 0, how: 'reset' }],
    ['a redirect without end', { type: 'answer', status: 307, headers: { location: 'http://127.0.0.1:1/elsewhere' } }],
  ])('is told with what was asked of the registry: %s', async (_, act) => {
    const { registry, repository } = await open();
    const location = `http://${registry.storageHost}/a/b/c?sig=secret`;
    registry.inject({
      ...{ method: 'GET', path: blob.path, times: Number.POSITIVE_INFINITY },
      act: { type: 'answer', status: 307, headers: { location } },
    });
    registry.inject({ at: 'storage', times: Number.POSITIVE_INFINITY, act });
    const reading = async (): Promise<unknown> => readAll(await repository.fetchBlob(there.descriptor));
    const failed = await failureOf(reading());
    if (!isNixcacheError(failed)) throw failed;
    expect(failed.message).toContain(`${registry.host}/v2/team/cache/blobs/${there.descriptor.digest}`);
    expect(failed.message).not.toContain('secret');
  });
});

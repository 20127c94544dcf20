/**
 * What the distribution specification v1.1 asks of a registry, as far as nixcache leans on it, in plain HTTP. The fake
 * registry is held to it beside a real one, so that what passes on the fake means something.
 *
 * https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
 */
import { describe, expect, it } from 'vitest';
import { type Answer, Api, INDEX, MANIFEST, OCTETS } from './conformance-api.ts';
import { blobOf, manifestOf } from './open-repository.ts';

export interface RegistryUnderTest {
  /** `127.0.0.1:port` */
  readonly host: string;
}

const ABSENT = `sha256:${'0'.repeat(64)}`;

/** One rule: its name is the specification's in short. */
type Rule = readonly [name: string, check: (api: Api) => Promise<void>];

/**
 * Holds the registry that `open` gives to every rule. Those named in `deviations` it is known to break: they must fail,
 * so that the list stays true.
 */
export function testConformance(
  name: string,
  open: () => RegistryUnderTest,
  { deviations = [] }: { readonly deviations?: readonly string[] } = {},
): void {
  let repositories = 0;
  describe(`${name} and the distribution specification`, () => {
    it('have no deviation listed that is no rule', () => {
      const names = GROUPS.flatMap(([, rules]) => rules.map(([rule]) => rule));
      expect(deviations.filter((deviation) => !names.includes(deviation))).toEqual([]);
    });
    describe.each(GROUPS)('%s', (_, rules) => {
      for (const [rule, check] of rules) {
        const run = deviations.includes(rule) ? it.fails : it;
        run(rule, async () => {
          repositories += 1;
          await check(new Api(open().host, `spec/r${repositories}`));
        });
      }
    });
  });
}

const codesOf = ({ body }: Answer): string[] =>
  (JSON.parse(body.toString('utf8')) as { errors: { code: string }[] }).errors.map(({ code }) => code);
const tagsOf = ({ body }: Answer): string[] => (JSON.parse(body.toString('utf8')) as { tags: string[] }).tags;
const digestIn = ({ headers }: Answer): string | null => headers.get('docker-content-digest');

const PULL: readonly Rule[] = [
  ['GET /v2/ is 200', async (api) => expect((await api.send('GET', `${api.origin}/v2/`)).status).toBe(200)],
  [
    'a blob comes whole, with its length and digest',
    async (api) => {
      const digest = await api.pushBlob('a blob');
      const answer = await api.send('GET', `blobs/${digest}`);
      expect([answer.status, String(answer.body), digestIn(answer)]).toEqual([200, 'a blob', digest]);
      expect(answer.headers.get('content-length')).toBe('6');
    },
  ],
  [
    'HEAD of a blob is 200 with its length and digest, and no body',
    async (api) => {
      const digest = await api.pushBlob('a blob');
      const answer = await api.send('HEAD', `blobs/${digest}`);
      expect([answer.status, answer.body.length, digestIn(answer)]).toEqual([200, 0, digest]);
      expect(answer.headers.get('content-length')).toBe('6');
    },
  ],
  [
    'a range of a blob is 206 with Content-Range',
    async (api) => {
      const digest = await api.pushBlob('0123456789');
      const answer = await api.send('GET', `blobs/${digest}`, { headers: { range: 'bytes=2-4' } });
      expect([answer.status, String(answer.body)]).toEqual([206, '234']);
      expect(answer.headers.get('content-range')).toBe('bytes 2-4/10');
    },
  ],
  [
    'a range to the end is 206',
    async (api) => {
      const digest = await api.pushBlob('0123456789');
      const answer = await api.send('GET', `blobs/${digest}`, { headers: { range: 'bytes=7-' } });
      expect([answer.status, String(answer.body)]).toEqual([206, '789']);
    },
  ],
  [
    'a range behind the end is 416',
    async (api) => {
      const digest = await api.pushBlob('0123456789');
      expect((await api.send('GET', `blobs/${digest}`, { headers: { range: 'bytes=10-12' } })).status).toBe(416);
    },
  ],
  [
    'an unknown blob is 404 BLOB_UNKNOWN',
    async (api) => {
      await api.pushBlob('another');
      const answer = await api.send('GET', `blobs/${ABSENT}`);
      expect([answer.status, codesOf(answer)]).toEqual([404, ['BLOB_UNKNOWN']]);
      expect((await api.send('HEAD', `blobs/${ABSENT}`)).status).toBe(404);
    },
  ],
  [
    'a manifest comes by tag and by digest, byte for byte',
    async (api) => {
      const { bytes, digest } = await api.pushManifest('v1');
      for (const reference of ['v1', digest]) {
        const answer = await api.send('GET', `manifests/${reference}`);
        expect([answer.status, answer.body, digestIn(answer)]).toEqual([200, bytes, digest]);
        expect(answer.headers.get('content-type')).toBe(MANIFEST);
      }
    },
  ],
  [
    'HEAD of a manifest is 200 with its length, type and digest',
    async (api) => {
      const { bytes, digest } = await api.pushManifest('v1');
      for (const reference of ['v1', digest]) {
        const answer = await api.send('HEAD', `manifests/${reference}`);
        expect([answer.status, answer.body.length, digestIn(answer)]).toEqual([200, 0, digest]);
        expect(answer.headers.get('content-length')).toBe(String(bytes.length));
        expect(answer.headers.get('content-type')).toBe(MANIFEST);
      }
    },
  ],
  [
    'an unknown manifest is 404 MANIFEST_UNKNOWN',
    async (api) => {
      await api.pushManifest('v1');
      for (const reference of ['v2', ABSENT]) {
        const answer = await api.send('GET', `manifests/${reference}`);
        expect([answer.status, codesOf(answer)]).toEqual([404, ['MANIFEST_UNKNOWN']]);
        expect((await api.send('HEAD', `manifests/${reference}`)).status).toBe(404);
      }
    },
  ],
];

const PUSH: readonly Rule[] = [
  [
    'POST then PUT: 202, 201, and a Location where the blob is',
    async (api) => {
      const { bytes, descriptor } = blobOf('monolithic');
      const answer = await api.finish(await api.begin(), descriptor.digest, bytes);
      expect([answer.status, digestIn(answer)]).toEqual([201, descriptor.digest]);
      const there = await api.send('GET', api.locationOf(answer));
      expect(String(there.body)).toBe('monolithic');
    },
  ],
  [
    'POST, PATCH without Content-Range, empty PUT: 202, 202 with Range, 201',
    async (api) => {
      const { bytes, descriptor } = blobOf('streamed');
      const patched = await api.send('PATCH', await api.begin(), { body: bytes, headers: { 'content-type': OCTETS } });
      expect([patched.status, patched.headers.get('range')]).toEqual([202, '0-7']);
      const done = await api.finish(api.locationOf(patched), descriptor.digest, Buffer.alloc(0));
      expect(done.status).toBe(201);
      expect(String((await api.send('GET', `blobs/${descriptor.digest}`)).body)).toBe('streamed');
    },
  ],
  [
    'POST with the whole blob is 201, or 202 and an upload as ever',
    async (api) => {
      const { bytes, descriptor } = blobOf('in one request');
      const answer = await api.send('POST', `blobs/uploads/?digest=${descriptor.digest}`, { body: bytes });
      expect([201, 202]).toContain(answer.status);
      if (answer.status === 202) await api.finish(api.locationOf(answer), descriptor.digest, bytes);
      expect((await api.send('HEAD', `blobs/${descriptor.digest}`)).status).toBe(200);
    },
  ],
  [
    'a mount of what is not there is 202 and an upload as ever',
    async (api) => {
      await api.pushBlob('something');
      const answer = await api.send('POST', `blobs/uploads/?mount=${ABSENT}&from=spec/nowhere`);
      expect(answer.status).toBe(202);
      const { bytes, descriptor } = blobOf('after a mount');
      expect((await api.finish(api.locationOf(answer), descriptor.digest, bytes)).status).toBe(201);
    },
  ],
  [
    'bytes of another digest are 400 DIGEST_INVALID, and are not stored',
    async (api) => {
      const { digest } = blobOf('what was meant').descriptor;
      const answer = await api.finish(await api.begin(), digest, Buffer.from('what was sent!'));
      expect([answer.status, codesOf(answer)]).toEqual([400, ['DIGEST_INVALID']]);
      expect((await api.send('HEAD', `blobs/${digest}`)).status).toBe(404);
    },
  ],
  [
    'an upload that is unknown is 404 BLOB_UPLOAD_UNKNOWN',
    async (api) => {
      const { bytes, descriptor } = blobOf('twice');
      const upload = await api.begin();
      await api.finish(upload, descriptor.digest, bytes);
      const answer = await api.finish(upload, descriptor.digest, bytes);
      expect([answer.status, codesOf(answer)]).toEqual([404, ['BLOB_UPLOAD_UNKNOWN']]);
    },
  ],
  [
    'GET of an upload is 204 with Location and Range',
    async (api) => {
      const patched = await api.send('PATCH', await api.begin(), { body: 'half', headers: { 'content-type': OCTETS } });
      const answer = await api.send('GET', api.locationOf(patched));
      expect([answer.status, answer.headers.get('range')]).toEqual([204, '0-3']);
      api.locationOf(answer);
    },
  ],
  [
    'a chunk out of order is 416',
    async (api) => {
      const headers = { 'content-type': OCTETS, 'content-range': '10-13' };
      expect((await api.send('PATCH', await api.begin(), { body: 'late', headers })).status).toBe(416);
    },
  ],
  [
    'DELETE of an upload is 204, and ends it',
    async (api) => {
      const upload = await api.begin();
      expect((await api.send('DELETE', upload)).status).toBe(204);
      expect((await api.finish(upload, blobOf('x').descriptor.digest, Buffer.from('x'))).status).toBe(404);
    },
  ],
  [
    'PUT of a manifest is 201 with its digest, and a Location where it is',
    async (api) => {
      const { answer, bytes, digest } = await api.pushManifest('v1');
      expect([answer.status, digestIn(answer)]).toEqual([201, digest]);
      expect((await api.send('GET', api.locationOf(answer))).body).toEqual(bytes);
    },
  ],
  [
    'PUT of a manifest by another digest is 400 DIGEST_INVALID',
    async (api) => {
      await api.pushBlob('{}');
      const body = manifestOf(blobOf('{}').descriptor);
      const answer = await api.send('PUT', `manifests/${ABSENT}`, { body, headers: { 'content-type': MANIFEST } });
      expect([answer.status, codesOf(answer)]).toEqual([400, ['DIGEST_INVALID']]);
    },
  ],
  [
    'a manifest over a blob that is not there is refused with MANIFEST_BLOB_UNKNOWN',
    async (api) => {
      const body = manifestOf(blobOf('never pushed').descriptor);
      const answer = await api.send('PUT', 'manifests/v1', { body, headers: { 'content-type': MANIFEST } });
      expect([400, 404]).toContain(answer.status);
      expect(codesOf(answer)).toContain('MANIFEST_BLOB_UNKNOWN');
      expect((await api.send('HEAD', 'manifests/v1')).status).toBe(404);
    },
  ],
  [
    'a manifest of nearly 4 MiB is taken',
    async (api) => {
      await api.pushBlob('{}');
      const config = blobOf('{}').descriptor;
      const annotations = { padding: 'x'.repeat(4 * 1024 * 1024 - 1000) };
      const body = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [], annotations });
      const answer = await api.send('PUT', 'manifests/large', { body, headers: { 'content-type': MANIFEST } });
      expect(answer.status).toBe(201);
    },
  ],
  [
    'a manifest with a subject is answered with OCI-Subject',
    async (api) => {
      const { bytes } = await api.pushManifest('v1');
      await api.pushBlob('{}');
      const subject = { ...blobOf(bytes).descriptor, mediaType: MANIFEST };
      const config = blobOf('{}').descriptor;
      const body = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [], subject });
      const answer = await api.send('PUT', 'manifests/v2', { body, headers: { 'content-type': MANIFEST } });
      expect(answer.headers.get('oci-subject')).toBe(subject.digest);
    },
  ],
];

const DISCOVERY: readonly Rule[] = [
  [
    'the tag list has name and tags, in lexical order',
    async (api) => {
      for (const tag of ['c', 'a', 'b']) await api.pushManifest(tag);
      const answer = await api.send('GET', 'tags/list');
      expect([answer.status, tagsOf(answer)]).toEqual([200, ['a', 'b', 'c']]);
      expect(JSON.parse(String(answer.body))).toHaveProperty('name');
    },
  ],
  [
    'n limits the tags of a page, and last continues',
    async (api) => {
      for (const tag of ['a', 'b', 'c']) await api.pushManifest(tag);
      expect(tagsOf(await api.send('GET', 'tags/list?n=2'))).toEqual(['a', 'b']);
      expect(tagsOf(await api.send('GET', 'tags/list?n=2&last=b'))).toEqual(['c']);
    },
  ],
  [
    'Link names the next page while there is one',
    async (api) => {
      for (const tag of ['a', 'b', 'c']) await api.pushManifest(tag);
      const first = await api.send('GET', 'tags/list?n=2');
      const [, next = ''] = /<([^>]+)>; *rel="?next"?/.exec(first.headers.get('link') ?? '') ?? [];
      const second = await api.send('GET', new URL(next, api.origin).href);
      expect([tagsOf(second), second.headers.get('link')]).toEqual([['c'], null]);
    },
  ],
  [
    'the tag list of an unknown repository is 404 NAME_UNKNOWN',
    async (api) => {
      const answer = await api.send('GET', 'tags/list');
      expect([answer.status, codesOf(answer)]).toEqual([404, ['NAME_UNKNOWN']]);
    },
  ],
  [
    'referrers are an index, empty where there are none',
    async (api) => {
      await api.pushManifest('v1');
      const answer = await api.send('GET', `referrers/${ABSENT}`);
      expect([answer.status, answer.headers.get('content-type')]).toEqual([200, INDEX]);
    },
  ],
];

const MANAGEMENT: readonly Rule[] = [
  [
    'DELETE of a manifest is 202, and takes all its tags along',
    async (api) => {
      const { digest, bytes } = await api.pushManifest('v1');
      await api.send('PUT', 'manifests/also', { body: bytes, headers: { 'content-type': MANIFEST } });
      expect((await api.send('DELETE', `manifests/${digest}`)).status).toBe(202);
      for (const reference of ['v1', 'also', digest]) {
        expect((await api.send('GET', `manifests/${reference}`)).status).toBe(404);
      }
    },
  ],
  [
    'DELETE of a manifest that is not there is 404',
    async (api) => {
      await api.pushManifest('v1');
      expect((await api.send('DELETE', `manifests/${ABSENT}`)).status).toBe(404);
    },
  ],
  [
    'DELETE of a tag is 202, or is refused as not supported',
    async (api) => {
      await api.pushManifest('v1');
      const answer = await api.send('DELETE', 'manifests/v1');
      expect([202, 400, 405]).toContain(answer.status);
      if (answer.status !== 202) expect(codesOf(answer)).toEqual(['UNSUPPORTED']);
    },
  ],
  [
    'DELETE of a blob is 202, or is refused as not supported',
    async (api) => {
      const answer = await api.send('DELETE', `blobs/${await api.pushBlob('to go')}`);
      expect([202, 405]).toContain(answer.status);
    },
  ],
];

const GROUPS: readonly (readonly [string, readonly Rule[]])[] = [
  ['pull', PULL],
  ['push', PUSH],
  ['content discovery', DISCOVERY],
  ['content management', MANAGEMENT],
];

/** Binary caches in buckets. */

import { createHash, createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { bucketKeys } from '../../src/config/bucket-keys.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { signedHeaders } from '../../src/upstream/bucket.ts';
import { HttpSource } from '../../src/upstream/http-source.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { readAll } from '../support/bytes.ts';

const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };

it.each([
  ['s3://cache', 'https://cache.s3.us-east-1.amazonaws.com', 'us-east-1'],
  ['s3://cache?region=eu-west-1&profile=x&priority=5', 'https://cache.s3.eu-west-1.amazonaws.com', 'eu-west-1'],
  ['s3://my.cache/sub/', 'https://s3.us-east-1.amazonaws.com/my.cache/sub', 'us-east-1'],
  ['s3://cache?endpoint=minio.example:9000', 'https://minio.example:9000/cache', 'us-east-1'],
  ['s3://cache/a?scheme=http&endpoint=minio', 'http://minio/cache/a', 'us-east-1'],
  ['s3://cache?endpoint=http%3A%2F%2F127.0.0.1%3A9000', 'http://127.0.0.1:9000/cache', 'us-east-1'],
  ['gs://cache/x', 'https://storage.googleapis.com/cache/x', 'auto'],
])('%s is at %s', (text, url, region) => {
  expect(parseUpstream(text)).toMatchObject({
    url,
    bucket: { region },
    priority: text.includes('priority') ? 5 : undefined,
  });
});

it.each([
  ['s3://', 'that is not the name of a bucket'],
  ['s3://key:secret@cache', 'keys stand in the environment'],
  ['s3://cache?region=EU', "'EU' is not a region"],
  ['s3://cache?endpoint=http://me:pw@x', 'its endpoint is no host'],
  ['s3://cache?endpoint=%zz', 'its endpoint is no host'],
  ['s3://cache?endpoint=x/y', 'its endpoint is no host'],
  ['s3://cache?endpoint=x&scheme=ftp', 'its endpoint is no host'],
])('%s is refused: %s', (text, reason) => {
  expect(() => parseUpstream(text)).toThrow(reason);
  expect(() => parseUpstream(text)).not.toThrow(/secret|pw/);
});

it.each([
  [
    's3',
    { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 's', AWS_SESSION_TOKEN: 't' },
    { accessKeyId: 'AK', secretAccessKey: 's', sessionToken: 't' },
  ],
  ['s3', { AWS_ACCESS_KEY_ID: 'AK' }, undefined],
  ['gs', { AWS_ACCESS_KEY_ID: 'AK', AWS_SECRET_ACCESS_KEY: 's' }, undefined],
  ['gs', { AWS_ACCESS_KEY_ID: 'GOOG1E', AWS_SECRET_ACCESS_KEY: 's' }, { accessKeyId: 'GOOG1E', secretAccessKey: 's' }],
] as const)('keys for %s are those in %j', (kind, env, keys) => {
  const found = bucketKeys({ kind, region: 'r' }, env);
  expect(found && JSON.parse(JSON.stringify(found))).toEqual(keys);
});

/** By the words of the specification, once more. */
function signatureOf(path: string, { headers, host }: { headers: IncomingHttpHeaders; host: string }): string {
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const date = String(headers['x-amz-date']);
  const [, names = ''] = /SignedHeaders=([^,]+)/.exec(String(headers.authorization)) ?? [];
  const lines = names.split(';').map((name) => `${name}:${name === 'host' ? host : headers[name]}\n`);
  const canonical = ['GET', path, '', lines.join(''), names, 'UNSIGNED-PAYLOAD'].join('\n');
  const scope = `${date.slice(0, 8)}/eu-west-1/s3/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const key = ['eu-west-1', 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${KEYS.secretAccessKey}`, date.slice(0, 8)));
  return hmac(key, text).toString('hex');
}

describe('a bucket', () => {
  const setUp = async (answer: (url: string) => { status: number; headers?: Record<string, string> }) => {
    const asked: { url: string; headers: IncomingHttpHeaders }[] = [];
    const server = createServer(({ url = '', headers }, response) => {
      asked.push({ url, headers });
      const { status, headers: told } = answer(url);
      response.writeHead(status, told).end('text');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const secrets: [string, string][] = [];
    const onSecret = (secret: string, kind: string): void => void secrets.push([secret, kind]);
    const http = new HttpClient({ secrets: { onSecret, withoutSecrets: (text) => text } });
    onTestFinished(async () => {
      await http.destroy();
      server.close();
    });
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const cache = parseUpstream(`s3://cache/sub?region=eu-west-1&endpoint=http://${host}`);
    const open = (keys = {}) => new HttpSource({ ...cache, ...keys }, http, new ManualClock());
    return { open, asked, host, secrets };
  };

  it('is asked with a signature over what nobody changes on the way', async () => {
    const { open, asked, host, secrets } = await setUp(() => ({ status: 200 }));
    const keys = { bucketKeys: { ...KEYS, sessionToken: 'session' } };
    for (const file of ['nar/a.nar.xz', 'log/x-gtk+3.drv']) {
      const opened = await open(keys).open(file, { range: { offset: 0, length: 4 }, via: '1.1 x' });
      expect(String(await readAll(opened?.body as never))).toBe('text');
    }
    expect(asked.map(({ url }) => url)).toEqual(['/cache/sub/nar/a.nar.xz', '/cache/sub/log/x-gtk%2B3.drv']);
    for (const { url, headers } of asked) {
      const { authorization = '' } = headers;
      expect(authorization).toContain(`Credential=${KEYS.accessKeyId}/`);
      expect(authorization).toContain('SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token');
      expect(authorization.split('Signature=')[1]).toBe(signatureOf(url, { headers, host }));
      expect([headers['range'], headers['via'], headers['x-amz-security-token']]).toEqual([
        'bytes=0-3',
        '1.1 x',
        'session',
      ]);
    }
    // Of signatures a long run makes thousands: none is kept.
    expect(new Set(secrets.filter(([, kind]) => kind === 'lasting').map(([secret]) => secret))).toEqual(
      new Set(['session']),
    );
  });

  it('is asked without one where there are no keys, and outside of it', async () => {
    const { open, asked, host } = await setUp(() => ({ status: 200 }));
    await readAll((await open().open('x.narinfo'))?.body as never);
    await readAll((await open({ bucketKeys: KEYS }).open(`http://${host}/other/x.nar`))?.body as never);
    await readAll((await open({ bucketKeys: KEYS }).open('../x.nar'))?.body as never);
    expect(asked.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/cache/sub/x.narinfo', undefined],
      ['/other/x.nar', undefined],
      ['/cache/x.nar', undefined],
    ]);
  });

  it('that says 403 has it not, and one that sends its signature elsewhere is not followed', async () => {
    const denied = await setUp(() => ({ status: 403 }));
    expect(await denied.open({ bucketKeys: KEYS }).open('x.narinfo')).toBeUndefined();
    const moved = await setUp(() => ({ status: 307, headers: { location: '/cache/sub/y' } }));
    await expect(moved.open({ bucketKeys: KEYS }).open('x.narinfo')).rejects.toMatchObject({ code: 'ERR_UPSTREAM' });
    expect(moved.asked).toHaveLength(1);
  });
});

it('signs as others do', async () => {
  const url = new URL('https://examplebucket.s3.amazonaws.com/test.txt');
  const headers = await signedHeaders(url, { kind: 's3', region: 'us-east-1' }, KEYS, new Date('2013-05-24T00:00:00Z'));
  expect(headers['x-amz-date']).toBe('20130524T000000Z');
  expect(headers['authorization']).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20130524\/us-east-1\/s3\/aws4_request, /,
  );
});

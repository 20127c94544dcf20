import { expect, it } from 'vitest';
import { redactUrls, Secrets, secretsInUrls } from '../../../src/cli/ui/secrets.ts';

it.each([
  ["'http://me:PW@host:80/x' is no cache", "'http://***@host:80/x' is no cache"],
  ['https://TOKEN@github.com/o/r.git', 'https://***@github.com/o/r.git'],
  ['git+https://me:P%40W@host/r?ref=main', 'git+https://***@host/r?ref=main'],
  ['socks5://me:PW@proxy:1080', 'socks5://***@proxy:1080'],
  // Not escaped as they must be, and then quoted in an error.
  ['http://me:P/W@host/', 'http://***@host/'],
  ['http://me:P@W@host/', 'http://***@host/'],
  ['http://me:P?W#x@host/', 'http://***@host/'],
  ['http://me:12345@host/', 'http://***@host/'],
  ['git+ssh://me:PW@host/r', 'git+ssh://***@host/r'],
  [
    '{"source":"https://me:PW@host/f.tar.gz?token=TTT&dir=a"}',
    '{"source":"https://***@host/f.tar.gz?token=***&dir=a"}',
  ],
  [
    'https://s3/x?X-Amz-Signature=abc&X-Amz-Credential=def&X-Amz-Date=1',
    'https://s3/x?X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Date=1',
  ],
  ['https://a.blob/x?se=2026&sig=abc', 'https://a.blob/x?se=2026&sig=***'],
  ['https://gitlab/x?private_token=abc', 'https://gitlab/x?private_token=***'],
  ['two: http://a:b@c http://d:e@f', 'two: http://***@c http://***@f'],
])('of %s it shows %s', (text, shown) => {
  expect(redactUrls(text)).toBe(shown);
});

it.each([
  'git+ssh://git@github.com/o/r?ref=main&rev=0a1b',
  'https://registry.npmjs.org/@scope/pkg',
  'https://host:8080/@scope/pkg',
  'https://cache.example.org?priority=10',
  'oci:/tmp/a@b',
  'mail me@example.org',
  'ghcr.io/o/r@sha256:00',
  'https://a/b and c@d',
])('leaves %s as it is', (text) => {
  expect(redactUrls(text)).toBe(text);
});

it('finds the secrets of URLs, so that they can be blotted out wherever else they turn up', () => {
  expect(secretsInUrls('--to=https://me:PW@host/x?token=TTT&ref=main')).toEqual(['PW', 'TTT']);
  expect(secretsInUrls('https://TOKEN@host')).toEqual(['TOKEN']);
  expect(secretsInUrls('git+ssh://gitea@host/r')).toEqual([]);
});

it.each([
  [['abcd', 'abcdefgh', 'xx-abcdefgh-yy']],
  [['xx-abcdefgh-yy', 'abcdefgh', 'abcd']],
  [['abcdefgh', 'xx-abcdefgh-yy', 'abcd']],
])('blots out the whole of a secret that holds another one, learnt in the order %j', (learnt) => {
  const secrets = new Secrets();
  for (const secret of learnt) secrets.add(secret);
  expect(secrets.redact('<xx-abcdefgh-yy> <abcdefgh> <abcd>')).toBe('<***> <***> <***>');
});

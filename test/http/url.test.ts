import { describe, expect, it } from 'vitest';
import { isLoopbackHost, redactUrl } from '../../src/http/http-fetch.ts';

it.each([
  ['https://user:pass@ghcr.io/v2/', 'https://ghcr.io/v2/'],
  ['https://ghcr.io/v2/a/tags/list?n=100&last=x', 'https://ghcr.io/v2/a/tags/list?n=100&last=x'],
  [
    'https://storage.example/b?se=2026&sig=c2VjcmV0&digest=sha256:0',
    'https://storage.example/b?se=***&sig=***&digest=sha256:0',
  ],
  ['https://a.example/x#token', 'https://a.example/x'],
])('shows %s as %s', (url, shown) => {
  expect(redactUrl(url)).toBe(shown);
});

describe('a loopback host', () => {
  it.each([
    'localhost',
    'LOCALHOST:5000',
    'registry.localhost',
    '127.8.9.10',
    '127.1',
    '[0:0::1]:80',
    'cache.localhost',
    '127.0.0.1',
    '127.1.2.3:80',
    '::1',
    '[::1]',
    '[::1]:5000',
    '0:0:0:0:0:0:0:1',
    '[::ffff:127.0.0.1]:80',
  ])('%s is one', (host) => {
    expect(isLoopbackHost(host)).toBe(true);
  });

  it.each([
    'ghcr.io',
    'localhost.example',
    'localhost.example:127',
    '[::2]',
    '[::ffff:126.0.0.1]',
    '127.0.0.1/x',
    '127.0.0.1@ghcr.io',
    'notlocalhost',
    '127.0.0.1.example',
    '127.example:80',
    '128.0.0.1',
    '10.0.0.1',
    '::',
    '::2',
    '[1::1]:5000',
    'fe80::1',
    '',
    'user@localhost',
  ])('%s is none', (host) => {
    expect(isLoopbackHost(host)).toBe(false);
  });
});

import { expect, it } from 'vitest';
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

it.each([
  ['localhost', true],
  ['registry.localhost', true],
  ['127.0.0.1', true],
  ['127.8.9.10', true],
  ['[::1]', true],
  ['localhost.example', false],
  ['127.0.0.1.example', false],
  ['10.0.0.1', false],
  ['[::2]', false],
])('of %s it is %s that it is this machine', (host, loopback) => {
  expect(isLoopbackHost(host)).toBe(loopback);
});

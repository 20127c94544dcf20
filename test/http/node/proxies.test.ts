import { describe, expect, it } from 'vitest';
import { parseProxy, proxyFor } from '../../../src/http/node/proxies.ts';

const hostFor = (url: string, env: Record<string, string>): string | undefined => proxyFor(new URL(url), env)?.origin;

describe('the proxy for a URL', () => {
  it.each([
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'http://p:3128' }, 'http://p:3128'],
    ['https://ghcr.io/v2/', { https_proxy: 'http://lower:1', HTTPS_PROXY: 'http://upper:2' }, 'http://lower:1'],
    ['https://ghcr.io/v2/', { https_proxy: '', HTTPS_PROXY: 'http://upper:2' }, 'http://upper:2'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'p:3128' }, 'http://p:3128'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'me:pw@p:3128' }, 'http://p:3128'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: '10.0.0.1:3128/' }, 'http://10.0.0.1:3128'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: '[fd00::1]:3128' }, 'http://[fd00::1]:3128'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'p' }, 'http://p:80'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'socks:1080' }, 'http://socks:1080'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'https://p' }, 'https://p:443'],
    ['https://ghcr.io/v2/', { HTTPS_PROXY: 'socks5h://p' }, 'socks5://p:1080'],
    ['https://ghcr.io/v2/', { ALL_PROXY: 'socks5://p:1' }, 'socks5://p:1'],
    ['https://ghcr.io/v2/', { all_proxy: 'http://all:1', HTTPS_PROXY: 'http://p:2' }, 'http://p:2'],
    ['http://cache.example/', { HTTP_PROXY: 'http://p:2', HTTPS_PROXY: 'http://q:2' }, 'http://p:2'],
    // As curl and Go: http_proxy is for http only.
    ['https://ghcr.io/v2/', { HTTP_PROXY: 'http://p:2' }, undefined],
    ['http://cache.example/', { HTTPS_PROXY: 'http://p:2' }, undefined],
    ['http://localhost:5000/', { ALL_PROXY: 'http://p:2' }, undefined],
    ['http://[::1]:5000/', { ALL_PROXY: 'http://p:2' }, undefined],
    ['http://127.3.2.1/', { ALL_PROXY: 'not a proxy at all' }, undefined],
    ['https://ghcr.io/v2/', {}, undefined],
  ])('%s with %o', (url, env, origin) => expect(hostFor(url, env as Record<string, string>)).toBe(origin));

  it.each([
    ['*', 'https://ghcr.io/', true],
    ['other.example, *', 'https://ghcr.io/', true],
    ['10.0.0.0/8', 'https://10.1.2.3:5000/', true],
    ['10.0.0.0/8', 'https://11.1.2.3/', false],
    ['10.0.0.0/8', 'https://registry.example/', false],
    ['10.0.0.0/99', 'https://10.1.2.3/', false],
    ['10.1.2.3', 'https://10.1.2.3/', true],
    ['10.1.2.3:5000', 'https://10.1.2.3:5000/', true],
    ['10.1.2.3:5000', 'https://10.1.2.3/', false],
    // The end of an address is no domain.
    ['.1', 'https://10.0.0.1/', false],
    ['0.0.1', 'https://10.0.0.1/', false],
    ['fd00::/8', 'https://[fd12::1]/', true],
    ['fd12::1', 'https://[fd12:0::1]/', true],
    ['[fd12::1]', 'https://[fd12::1]/', true],
    ['[fd12::1]:443', 'https://[fd12::1]/', true],
    ['[fd12::1]:80', 'https://[fd12::1]/', false],
    ['example.com', 'https://example.com/', true],
    ['example.com', 'https://a.b.example.com/', true],
    ['example.com', 'https://notexample.com/', false],
    ['EXAMPLE.com', 'https://a.Example.COM/', true],
    ['.example.com', 'https://a.example.com/', true],
    // Go's rule; whoever means the domain too writes it without the dot.
    ['.example.com', 'https://example.com/', false],
    ['*.example.com', 'https://a.example.com/', true],
    ['*.example.com', 'https://example.com/', false],
    ['example.com:8443', 'https://example.com:8443/', true],
    ['example.com:443', 'https://example.com/', true],
    ['example.com:80', 'https://example.com/', false],
    ['example.com.', 'https://example.com/', true],
    ['example.com', 'https://example.com./', true],
    ['a.example b.example', 'https://b.example/', true],
    [' ,, ', 'https://b.example/', false],
  ])('is none where NO_PROXY=%s has %s: %s', (noProxy, url, isExcepted) => {
    expect(hostFor(url, { ALL_PROXY: 'p:1', NO_PROXY: noProxy }) === undefined).toBe(isExcepted);
    expect(hostFor(url, { ALL_PROXY: 'p:1', no_proxy: noProxy, NO_PROXY: 'x' }) === undefined).toBe(isExcepted);
  });

  it.each([
    ['http://me:p%40ss%3A%C3%A9@p:1', 'me', 'p@ss:é'],
    ['http://me:100%@p:1', 'me', '100%'],
    ['me@p:1', 'me', undefined],
    ['http://p:1', undefined, undefined],
  ])('has the login that %s holds', (text, username, password) => {
    expect(parseProxy(text, 'X')).toMatchObject({ username, password, host: 'p:1' });
  });

  it.each([
    'http://',
    'ftp://p:1',
    'socks4://p:1',
    'http://p:99999',
    '://p',
    'http://a b',
    'http://me:hunter2/#@p:1',
    'socks5:me:hunter2@p',
    'http:/me:hunter2@p',
    'http:me:hunter2@p',
  ])('is not %s: the error names the variable and repeats no password', (text) => {
    const parse = (): unknown => proxyFor(new URL('https://ghcr.io'), { HTTPS_PROXY: text });
    expect(parse).toThrow(
      expect.objectContaining({ code: 'ERR_USAGE', message: expect.stringMatching(/^HTTPS_PROXY /) }),
    );
    expect(parse).not.toThrow(/hunter2/);
  });
});

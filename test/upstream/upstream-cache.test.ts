import { describe, expect, it } from 'vitest';
import { messageOf } from '../../src/errors.ts';
import { inOrder, parseUpstream } from '../../src/upstream/upstream-cache.ts';

const KEY = 'cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=';

it('upstreams are asked by priority, then in the order given', () => {
  const caches = ['https://a.org', 'https://b.org?priority=50', 'https://c.org', 'https://d.org?priority=10'];
  expect(inOrder(caches.map(parseUpstream), ({ priority }) => priority).map(({ url }) => url[8])).toEqual([
    'd',
    'a',
    'c',
    'b',
  ]);
});

describe('parseUpstream', () => {
  it('knows the key of cache.nixos.org', () => {
    const cache = parseUpstream('https://cache.nixos.org/');
    expect(cache.url).toBe('https://cache.nixos.org');
    expect(cache.publicKeys.map(({ text }) => text)).toEqual([KEY]);
  });

  it('keeps the path, and the + of a key', () => {
    const key = 'a-1:Iw+BFIyYZpvVZ+pAI6hRMgN7Io6gpXVMiA+yIbPHZM8=';
    const cache = parseUpstream(`http://example.org/my/cache/?priority=10&trusted-public-key=${key}`);
    expect(cache).toMatchObject({ url: 'http://example.org/my/cache', priority: 10 });
    expect(cache.publicKeys.map(({ text }) => text)).toEqual([key]);
  });

  it('makes Basic credentials of the userinfo, and keeps them out of the URL', () => {
    const cache = parseUpstream('https://user:p%40ss@example.org/x');
    expect(cache.url).toBe('https://example.org/x');
    expect(cache.authorization).toBe(`Basic ${Buffer.from('user:p@ss').toString('base64')}`);
  });

  it('takes what is a substituter for Nix, and names what of it means nothing here', () => {
    const text =
      'https://example.org?trusted=1&compression=zstd&priority=7&want-mass-query=true&secret-key=/k&trusted=1';
    const names = ['trusted', 'compression', 'want-mass-query', 'secret-key'];
    expect(parseUpstream(text)).toMatchObject({ url: 'https://example.org', priority: 7, ignored: names });
    expect(parseUpstream('https://example.org?hunter22').ignored?.join(' ')).not.toContain('hunter22');
    expect(parseUpstream('https://example.org?priority=7').ignored).toEqual([]);
  });

  it('takes a directory', () => {
    expect(parseUpstream('file:///srv/cache/').url).toBe('file:///srv/cache');
  });

  it.each([
    ['cache.nixos.org', /not a URL/],
    ['ftp://u:secret@example.org', /https:\/\/, http:\/\/, file:\/\/, s3:\/\/ or gs:/],
    ['https://u:secret%@example.org', /two hexadecimal digits/],
    ['https://u:secret@example.org?priority=high', /'priority'/],
    ['https://u:secret@example.org?trusted-public-key=x', /'name:base64'/],
  ])('refuses %s without repeating a password', (text, message) => {
    let said = '';
    try {
      parseUpstream(text);
    } catch (error) {
      said = messageOf(error);
    }
    expect(said).toMatch(message);
    expect(said).not.toContain('secret');
  });
});

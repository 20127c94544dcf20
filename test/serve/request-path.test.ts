import { describe, expect, it } from 'vitest';
import { originForm, pathOf } from '../../src/serve/request-path.ts';

describe('the path of a request', () => {
  it.each([
    ['/nix-cache-info', '/nix-cache-info'],
    ['/a?b=c', '/a'],
    ['/a#b', '/a'],
    ['http://127.0.0.1:1/a/b', '/a/b'],
    ['HTTPS://host/a', '/a'],
    ['/a%20b', '/a b'],
    // Decoded once, and no more.
    ['/a%2520b', '/a%20b'],
    ['/%E2%82%AC', '/€'],
    ['/a..b/.c', '/a..b/.c'],
  ])('%s is %s', (target, path) => {
    expect(pathOf(target)).toBe(path);
  });

  it.each([
    '',
    'a',
    '*',
    'http://host',
    '/..',
    '/a/../b',
    '/a/./b',
    '/%2e%2e/etc',
    '/a%2f..%2fb',
    '/a\\b',
    '/a%5cb',
    '/a%00',
    '/a%0ab',
    '/%',
    '/%zz',
    '/%ff',
  ])('%j names nothing', (target) => {
    expect(pathOf(target)).toBeUndefined();
  });

  it('keeps the query of a target whose origin is taken off', () => {
    expect(originForm('http://host:1/a?b=http://c/d')).toBe('/a?b=http://c/d');
    expect(originForm('/a?b=http://c/d')).toBe('/a?b=http://c/d');
  });
});

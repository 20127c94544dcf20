import { describe, expect, it } from 'vitest';
import { parseTokens, Tokens } from '../../src/serve/tokens.ts';

const READ = { name: 'read-token', scopes: ['read'] } as const;
const basic = (password: string, user = ''): string => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
const tokensOf = (text: string): Tokens => new Tokens(parseTokens(text, READ));

describe('a file of tokens', () => {
  it('has one a line, alone or behind a name and scopes, and comments', () => {
    const text = '\ufeff# who may read\r\n\n  s3cret#with-hash  \r\nci-1\tread,push   t0ken\nroot admin x\n';
    expect(parseTokens(text, READ).map(({ name, scopes }) => [name, scopes])).toEqual([
      ['read-token-3', ['read']],
      ['ci-1', ['read', 'push']],
      ['root', ['admin']],
    ]);
    expect(tokensOf(text).holderOf('Bearer s3cret#with-hash')?.name).toBe('read-token-3');
  });

  it.each([
    ['', 'there is no token in it'],
    ['# nothing\n\n', 'there is no token in it'],
    ['ok\nhush hush', 'line 2: there are 2 words'],
    ['hush hush hush hush', 'line 1: there are 4 words'],
    ['ci hush hush', 'line 1: scopes are some of read,push,admin'],
    ['ci read,hush hush', 'line 1: scopes are some of'],
    ['ci , hush', 'line 1: scopes are some of'],
    ['-hush read hush', 'line 1: a name is made of'],
    ['hüsh', 'line 1: a token is made of printable ASCII'],
    ['hu\0sh', 'line 1: a token is made of printable ASCII'],
  ])('like %j is refused without a word of it', (text, message) => {
    expect(() => parseTokens(text, READ)).toThrow(message);
    expect(() => parseTokens(text, READ)).not.toThrow(/h[uü]/);
  });
});

describe('a token', () => {
  const tokens = tokensOf('ann read a:b\nbob push secret\nbob2 read,admin secret');

  it.each([
    ['Bearer a:b', 'ann'],
    ['bearer   a:b ', 'ann'],
    [basic('a:b'), 'ann'],
    [basic('a:b', 'anyone'), 'ann'],
    [basic('secret', 'ünicode'), 'bob'],
  ])('is taken from %s', (authorization, name) => {
    expect(tokens.holderOf(authorization)?.name).toBe(name);
  });

  it.each([
    [undefined],
    [null],
    [''],
    ['a:b'],
    ['Bearer'],
    ['Bearer '],
    ['Bearer a:b x'],
    ['Bearer a:bc'],
    ['Digest a:b'],
    [basic('secre')],
    [basic('')],
    [`Basic ${Buffer.from('secret').toString('base64')}`],
    [basic('x', 'secret')],
    ['Basic !!!'],
  ])('is not found in %s', (authorization) => {
    expect(tokens.holderOf(authorization)).toBeUndefined();
  });

  it('that is listed twice has the scopes of both lines', () => {
    expect(tokens.holderOf('Bearer secret')?.scopes.toSorted()).toEqual(['admin', 'push', 'read']);
    expect([tokens.has('admin'), tokensOf('x').has('push')]).toEqual([true, false]);
  });
});

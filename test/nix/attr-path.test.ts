import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { AttrPathMatcher, attrPathGlob, formatAttrPath, rootMatcher, splitAttrPath } from '../../src/nix/attr-path.ts';

const attrPathMatcher = (filter: ConstructorParameters<typeof AttrPathMatcher>[0]) => {
  const matcher = new AttrPathMatcher(filter);
  return (path: readonly string[]): boolean => matcher.isWanted(path);
};

const X86 = ['packages', 'x86_64-linux', 'hello'];

it('writes plain components with dots between, and quotes the others', () => {
  expect(formatAttrPath(X86)).toBe('packages.x86_64-linux.hello');
  expect(formatAttrPath(['packages', 'x86_64-linux', 'my.tool'])).toBe('packages.x86_64-linux."my.tool"');
  expect(formatAttrPath(['a', 'say "hi"', ''])).toBe('a."say \\"hi\\"".""');
});

it.each([
  ['packages.x86_64-linux.hello', X86, true],
  ['packages.*.hello', X86, true],
  ['*.x86_64-linux.*', X86, true],
  ['packages.x86_64-linux', X86, true],
  ['packages', X86, true],
  ['**.hello', X86, true],
  ['packages.*.h?l*', X86, true],
  ['packages.{x86_64,aarch64}-linux.hello', X86, true],
  ['{packages,checks}.*.[gh]ello', X86, true],
  ['*', X86, true],
  ['hello', X86, false],
  ['*.hello', X86, false],
  ['packages.*.hell', X86, false],
  ['packages.x86_64*hello', X86, false],
  ['packages.*."my.tool"', ['packages', 's', 'my.tool'], true],
  ['packages.*."*"', ['packages', 's', 'hello'], false],
  ['packages.*."*"', ['packages', 's', '*'], true],
  ['packages.*.my', ['packages', 's', 'my.tool'], false],
  ['a.*', ['a', 'x/y'], true],
  ['a.*.y', ['a', 'x/y'], false],
  ['a.*', ['a', '.hidden'], true],
  ['!a', ['b'], false],
])('the glob %s on %j: %s', (glob, path, expected) => {
  expect(attrPathMatcher({ only: [glob] })(path)).toBe(expected);
});

it('takes everything without globs, and what any of several matches', () => {
  expect(attrPathMatcher({})(X86)).toBe(true);
  expect(attrPathMatcher({ only: ['checks', 'packages.*.hello'] })(X86)).toBe(true);
});

it('lets exclude win over only', () => {
  const isWanted = attrPathMatcher({ only: ['packages'], exclude: ['packages.*.hello'] });
  expect(isWanted(X86)).toBe(false);
  expect(isWanted(['packages', 'x86_64-linux', 'other'])).toBe(true);
});

it.each(['packages..hello', 'packages.', '', 'packages."hello'])("refuses the glob '%s'", (glob) => {
  expect(() => attrPathMatcher({ only: [glob] })).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
});

test('a path written as a glob selects that path', () => {
  // Newlines are outside: picomatch's dots do not match them.
  const component = fc.string({ minLength: 1, unit: 'grapheme-ascii' }).filter((text) => !/[\\"]/.test(text));
  fc.assert(
    fc.property(fc.array(component, { minLength: 1, maxLength: 4 }), (components) => {
      expect(attrPathMatcher({ only: [formatAttrPath(components)] })(components)).toBe(true);
    }),
  );
});

it('tells which globs selected nothing, and which may have been meant', () => {
  const matcher = new AttrPathMatcher({
    only: ['*.hello', 'packages', 'nope'],
    exclude: ['*.typo', 'packages.*.hello'],
  });
  expect(matcher.isWanted(X86)).toBe(false);
  expect(matcher.unmatched).toEqual([
    { list: 'only', glob: '*.hello', meant: '**.hello' },
    { list: 'only', glob: 'nope', meant: undefined },
    { list: 'exclude', glob: '*.typo', meant: undefined },
  ]);
  expect(new AttrPathMatcher({ only: ['hello'] }).isWanted(X86)).toBe(false);
  const bare = new AttrPathMatcher({ only: ['hello'] });
  bare.isWanted(X86);
  expect(bare.unmatched).toEqual([{ list: 'only', glob: 'hello', meant: '**.hello' }]);
});

it('matches written paths as it matches components', () => {
  expect(splitAttrPath('packages.x86_64-linux."my.tool"')).toEqual(['packages', 'x86_64-linux', 'my.tool']);
  expect(attrPathGlob('packages.*.hello')('packages.x86_64-linux.hello')).toBe(true);
  expect(attrPathGlob('packages.x86_64-linux')('packages.x86_64-linux.hello')).toBe(true);
  expect(attrPathGlob('*.hello')('packages.x86_64-linux.hello')).toBe(false);
  expect(attrPathGlob('packages.*."my.tool"')('packages.x86_64-linux."my.tool"')).toBe(true);
});

it('matches names of roots: as attribute paths those of outputs, as text all others', () => {
  expect(rootMatcher('packages.*.hello')('packages.x86_64-linux.hello^dev', true)).toBe(true);
  expect(rootMatcher('*.hello')('packages.x86_64-linux.hello', true)).toBe(false);
  expect(rootMatcher('hello*')('hello-2.12.1', false)).toBe(true);
  expect(rootMatcher('*.1')('hello-2.12.1', false)).toBe(true);
  expect(rootMatcher('/nix/store/*')('hello-2.12.1', false)).toBe(false);
});

import { expect, it } from 'vitest';
import { nameMatcher } from '../src/name-glob.ts';

it.each([
  ['hello', 'hello', true],
  ['hello', 'hello-2', false],
  ['hello*', 'hello-2', true],
  ['packages.*', 'packages.x86_64-linux.hello', true],
  ['*', '.hidden', true],
  ['!hello', 'other', false],
  // A name may look like a glob.
  ['a[b', 'a[b', true],
  ['a[b]', 'a[b]', true],
  ['', '', true],
  ['', 'hello', false],
])('%j and the name %j: %s', (glob, name, expected) => {
  expect(nameMatcher(glob)(name)).toBe(expected);
});

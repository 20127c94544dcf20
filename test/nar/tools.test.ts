import { expect, it } from 'vitest';
import { toolAdvice } from '../../src/nar/tools.ts';

it.each([
  ['xz', ': install xz'],
  ['lzip', ': install lzip or xz'],
  ['lrzip', ''],
  ['constructor', ''],
])('says what unpacks %s', (compression, advice) => {
  expect(toolAdvice(compression)).toBe(advice);
});

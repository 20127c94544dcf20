import { expect, it } from 'vitest';
import { Refusals } from '../../src/copy/refusals.ts';
import { hashPartOf, toStorePath } from '../../src/nix/store-path.ts';
import { baseNameFor } from '../support/cache-builder.ts';

const info = (name: string, ...references: readonly string[]) => ({
  path: toStorePath(baseNameFor(name)),
  references: references.map(baseNameFor),
});
const hash = (name: string) => hashPartOf(baseNameFor(name));

it('a path that refers to what is refused has that as its fault', () => {
  const refusals = new Refusals();
  refusals.add(info('lib'), 'nobody signed it');
  expect(refusals.faultOf(info('app', 'libc', 'lib'))).toMatch(/^it refers to .*-lib, which is left out$/);
  expect(refusals.faultOf(info('tool', 'libc'))).toBeUndefined();
  expect(refusals.list).toEqual([{ path: info('lib').path, reason: 'nobody signed it' }]);
});

it('what is at the destination without what it needs lets nothing rest on it, at any distance', () => {
  const refusals = new Refusals();
  refusals.add(info('libc'), 'nobody signed it');
  refusals.pass(info('lib', 'libc', 'lib'));
  refusals.pass(info('sound', 'sound'));
  expect(refusals.faultOf(info('app', 'lib'))).toMatch(/^it refers to .*-lib, which needs what is left out$/);
  refusals.pass(info('app', 'lib'));
  expect(refusals.faultOf(info('top', 'app'))).toMatch(/-app, which needs/);
  expect(['libc', 'lib', 'app', 'sound'].map((name) => refusals.isWhole(hash(name)))).toEqual([
    false,
    false,
    false,
    true,
  ]);
  expect(['libc', 'lib'].map((name) => refusals.has(hash(name)))).toEqual([true, false]);
});

it('another form of a path that is broken at the destination may mend it, though it refers to itself', () => {
  const refusals = new Refusals();
  refusals.add(info('libc'), 'nobody signed it');
  refusals.pass(info('lib', 'libc', 'lib'));
  expect(refusals.faultOf(info('lib', 'lib'))).toBeUndefined();
  expect(refusals.faultOf(info('lib', 'lib', 'libc'))).toMatch(/-libc, which is left out$/);
});

it('records lose what is not whole, and keep removals of pins', () => {
  const refusals = new Refusals();
  refusals.add(info('bad'), 'damaged');
  const root = (name: string) => ({ name, path: baseNameFor(name), time: 1, run: 'r' });
  const pins = [
    { name: 'a', path: baseNameFor('bad'), time: 1 },
    { name: 'b', path: baseNameFor('good'), time: 1 },
    { name: 'c', time: 2, removed: true },
  ];
  const whole = refusals.wholeOf({ roots: [root('bad'), root('good')], pins });
  expect(whole.roots.map(({ name }) => name)).toEqual(['good']);
  expect(whole.pins.map(({ name }) => name)).toEqual(['b', 'c']);
});

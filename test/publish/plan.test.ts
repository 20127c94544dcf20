import { expect, test } from 'vitest';
import { hashFromHex } from '../../src/nix/hash.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { baseNameOf, type HashPart, hashPartOf, parseBaseName, toStorePath } from '../../src/nix/store-path.ts';
import { type PlanInput, planPublish } from '../../src/publish/plan.ts';

const path = (name: string, references: readonly PathInfo[] = [], narSize = 100): PathInfo => ({
  path: toStorePath(parseBaseName(`${name.padEnd(32, '0')}-${name}`)),
  narHash: hashFromHex('00'.repeat(32)),
  narSize,
  references: references.map(({ path }) => baseNameOf(path)),
  sigs: [],
});
const libc = path('c');
const lib = path('b', [libc]);
const big = path('d', [libc], 5000);
const app = path('a', [lib, big]);
const input = (overrides: Partial<PlanInput>): PlanInput => ({
  closure: [app, big, lib, libc],
  isCached: () => false,
  upstreamOf: new Map(),
  unknown: new Map(),
  excludePaths: [],
  maxNarBytes: undefined,
  ...overrides,
});
const key = (info: PathInfo): HashPart => hashPartOf(info.path);

test('everything that neither the cache nor an upstream has is pushed, references first', () => {
  const plan = planPublish(
    input({ isCached: (hashPart) => hashPart === key(lib), upstreamOf: new Map([[key(libc), 'https://up']]) }),
  );
  expect(plan).toEqual({ push: [big, app], cached: [lib], sign: [], upstream: [libc], unknown: [], excluded: [] });
});

test('what the cache has is not asked of upstream again', () => {
  const plan = planPublish(input({ isCached: () => true, upstreamOf: new Map([[key(libc), 'https://up']]) }));
  expect(plan.cached).toEqual([libc, lib, big, app]);
  expect(plan.upstream).toEqual([]);
});

test('a path that could not be looked up is pushed and told apart, never taken for present', () => {
  const plan = planPublish(input({ unknown: new Map([[key(libc), new Error('timed out')]]) }));
  expect(plan.push).toContain(libc);
  expect(plan.unknown).toEqual([libc]);
});

test('excluded paths are named with those that then lack a reference', () => {
  const plan = planPublish(input({ maxNarBytes: 4999, excludePaths: [/-c$/] }));
  expect(plan.push).toEqual([lib, app]);
  expect(plan.excluded).toEqual([
    { info: libc, reason: 'it matches --exclude-path -c$', dependents: [baseNameOf(lib.path)] },
    { info: big, reason: 'its NAR is 5000 bytes, more than --max-nar-size 4999', dependents: [baseNameOf(app.path)] },
  ]);
});

test('what the cache has counts among those that lack an excluded path; what is excluded is not pushed, known or not', () => {
  const plan = planPublish(
    input({
      isCached: (hashPart) => hashPart === key(lib),
      excludePaths: [/-c$/],
      unknown: new Map([[key(libc), new Error('timed out')]]),
    }),
  );
  expect(plan.excluded.map(({ dependents }) => dependents)).toEqual([[big, lib].map((info) => baseNameOf(info.path))]);
  expect(plan.unknown).toEqual([]);
});

test('the references of a closure are read a few times, not once for each path that is left out', () => {
  const SIDE = 200;
  let reads = 0;
  const counted = (info: PathInfo): PathInfo => ({
    ...info,
    get references() {
      reads++;
      return info.references;
    },
  });
  const left = Array.from({ length: SIDE }, (_, n) => path(`x${n + SIDE}`, [], 5000));
  const kept = Array.from({ length: SIDE }, (_, n) => counted(path(`y${n + SIDE}`, left.slice(n, n + 2))));
  const { excluded } = planPublish(input({ closure: [...left, ...kept], maxNarBytes: 4999 }));
  expect(excluded).toHaveLength(SIDE);
  expect(excluded[1]?.dependents).toEqual(kept.slice(0, 2).map((info) => baseNameOf(info.path)));
  expect(reads).toBeLessThan(10 * SIDE);
});

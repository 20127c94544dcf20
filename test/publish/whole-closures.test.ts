import { beforeAll, expect, test } from 'vitest';
import type { IndexReader } from '../../src/cache/read/index-reader.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/nix/signature.ts';
import { parseStorePath, toStorePath } from '../../src/nix/store-path.ts';
import type { BuildTarget } from '../../src/nix-store/build-failure.ts';
import { type WholeClosuresOptions, withWholeClosure } from '../../src/publish/whole-closures.ts';
import { baseNameFor, CacheBuilder, openReader } from '../support/cache-builder.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** A chain of 100 paths, `link 99` on top; `app` and `broken`, which lacks a reference; and what refers to those. */
const LINKS = 100;
let reader: IndexReader;

beforeAll(async () => {
  const store = new MemoryStore();
  const link = (n: number) => ({ name: `link-${n}`, references: [`link-${n}`, ...(n > 0 ? [`link-${n - 1}`] : [])] });
  await new CacheBuilder(store).publish({
    at: day(0),
    paths: [
      ...Array.from({ length: LINKS }, (_, n) => link(n)),
      { name: 'app', references: ['link-3'] },
      { name: 'broken', references: ['absent', 'link-2'] },
      { name: 'top', references: ['app', 'broken'] },
    ],
  });
  reader = await openReader(store);
});

const target = (...names: readonly string[]): BuildTarget => ({
  drvPath: parseStorePath(`${toStorePath(baseNameFor(names.join('-')))}.drv`),
  outputs: Object.fromEntries(names.map((name) => [name, toStorePath(baseNameFor(name))])),
});

const wholeAmong = (targets: readonly BuildTarget[], options: Partial<WholeClosuresOptions> = {}): string[][] => {
  const whole = withWholeClosure(targets, {
    ...{ reader, asksUpstreams: false, excludePaths: [], maxNarBytes: undefined, keys: [] },
    ...options,
  });
  return targets.filter((each) => whole.has(each)).map(({ outputs }) => Object.keys(outputs));
};

const TARGETS = [target('app'), target('broken'), target('top'), target('absent'), target('app', 'absent')];

test('a target is there when the cache has all its outputs, and all that they reach', () => {
  expect(wholeAmong(TARGETS)).toEqual([['app']]);
  expect(wholeAmong([target('app', 'link-99'), target('app', 'top')])).toEqual([['app', 'link-99']]);
});

test('what the user excludes is not missed, but what it is an output of is', () => {
  expect(wholeAmong(TARGETS, { excludePaths: [/^\/nix\/store\/[^/]*-absent$/] })).toEqual([
    ['app'],
    ['broken'],
    ['top'],
  ]);
  expect(wholeAmong(TARGETS, { excludePaths: [/-app$/] })).toEqual([['app']]);
});

test('where upstreams or a limit may have left something out, the outputs alone count', () => {
  for (const options of [{ asksUpstreams: true }, { maxNarBytes: 10 }]) {
    expect(wholeAmong(TARGETS, options)).toEqual([['app'], ['broken'], ['top']]);
  }
});

test('each entry is read once, however many targets reach it', () => {
  let reads = 0;
  const counting: WholeClosuresOptions['reader'] = {
    storeDir: reader.storeDir,
    has: (hashPart) => reader.has(hashPart),
    findEntry: (hashPart) => {
      reads++;
      return reader.findEntry(hashPart);
    },
  };
  const targets = Array.from({ length: LINKS }, (_, n) => target(`link-${n}`));
  expect(wholeAmong(targets, { reader: counting })).toHaveLength(LINKS);
  expect(reads).toBe(LINKS);
});

test('with keys, what none of them signed is as good as absent, and so is what refers to it', async () => {
  const [key, other] = ['whole-1', 'other-1'].map((name) => parseSecretKey(generateKey(name).secret)) as [
    SecretKey,
    SecretKey,
  ];
  const store = new MemoryStore();
  const link = { name: 'link-0', references: [] };
  await new CacheBuilder(store).publish({ at: day(0), paths: [link] });
  const signed = new MemoryStore();
  await copyBetween(store, signed, { keys: [key] });
  await new CacheBuilder(signed).publish({ at: day(1), paths: [{ name: 'above', references: ['link-0'] }] });
  const options = { reader: await openReader(signed), asksUpstreams: true };
  const targets = [target('link-0'), target('above')];
  expect(wholeAmong(targets, options)).toEqual([['link-0'], ['above']]);
  expect(wholeAmong(targets, { ...options, keys: [key] })).toEqual([['link-0']]);
  expect(wholeAmong(targets, { ...options, keys: [other] })).toEqual([]);
});

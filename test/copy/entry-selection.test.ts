import { describe, expect, it } from 'vitest';
import { EntrySelection } from '../../src/copy/entry-selection.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { nameOf } from '../../src/nix/store-path.ts';
import { baseNameFor, CacheBuilder, hashPartFor, openReader, type PathSpec } from '../support/cache-builder.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

const [key, other] = ['key-1', 'other-1'].map((name) => parseSecretKey(generateKey(name).secret));
if (!key || !other) throw new Error('no keys');

const PATHS: readonly PathSpec[] = [
  { name: 'app', references: ['lib', 'app'] },
  { name: 'lib', references: ['libc', 'upstream'] },
  { name: 'libc' },
  { name: 'doc' },
];

async function cacheOf(paths: readonly (PathSpec | string)[], at = day(0)): Promise<MemoryStore> {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at, paths });
  return store;
}

/** The same cache, all of it signed by `key`. */
async function signedCache(paths: readonly PathSpec[] = PATHS): Promise<MemoryStore> {
  const store = new MemoryStore();
  await copyBetween(await cacheOf(paths), store, { keys: [key as NonNullable<typeof key>] });
  return store;
}

async function select(
  stores: { readonly source?: MemoryStore; readonly destination?: MemoryStore },
  options: Partial<Pick<ConstructorParameters<typeof EntrySelection>[0], 'keys' | 'trustedKeys'>> = {},
) {
  const source = await openReader(stores.source ?? (await cacheOf(PATHS)));
  const destination = await openReader(stores.destination ?? new MemoryStore());
  const selection = new EntrySelection({ source, destination, keys: [], trustedKeys: [], ...options });
  const wanted = (...roots: string[]): string[] =>
    [...selection.wanted(roots.map(hashPartFor), (hashPart) => destination.has(hashPart))].map(({ entry }) =>
      nameOf(entry.narInfo.path),
    );
  return { selection, wanted, source };
}

describe('a survey', () => {
  it('counts what is lacking, what is there, and references that the source does not have', async () => {
    const { selection, source } = await select({ destination: await cacheOf(['libc']) });
    const sizeOf = (name: string): number => source.findEntry(hashPartFor(name))?.narInfo.fileSize ?? 0;
    const bytes = sizeOf('app') + sizeOf('lib');
    expect(selection.survey([hashPartFor('app')])).toEqual({
      lacking: { paths: 2, bytes },
      existed: 1,
      unsigned: 2,
      absent: 1,
    });
    expect(selection.survey(undefined)).toEqual({
      ...{ lacking: { paths: 3, bytes: bytes + sizeOf('doc') }, existed: 1, unsigned: 3, absent: 1 },
    });
    expect(selection.refusals.list).toEqual([]);
  });

  it('refuses what no trusted key signed, and what refers to it', async () => {
    const signed = await signedCache([PATHS[2] as PathSpec, PATHS[3] as PathSpec]);
    await new CacheBuilder(signed).publish({ at: day(1), paths: PATHS.slice(0, 2) });
    const { selection, wanted } = await select({ source: signed }, { trustedKeys: [key.publicKey] });
    expect(selection.survey(undefined)).toMatchObject({ lacking: { paths: 2 } });
    expect(selection.refusals.list.map(({ path, reason }) => [path.slice(44), reason])).toEqual([
      ['lib', 'no trusted key signed it'],
      ['app', `it refers to ${baseNameFor('lib')}, which is left out`],
    ]);
    expect(wanted('app', 'doc')).toEqual(['libc', 'doc']);
  });

  it('refuses nothing that is there already, whoever signed it', async () => {
    const { selection } = await select(
      { destination: await cacheOf(PATHS.slice(1, 3)) },
      { trustedKeys: [key.publicKey] },
    );
    expect(selection.survey([hashPartFor('lib')])).toMatchObject({ lacking: { paths: 0 }, existed: 2 });
    expect(selection.refusals.list).toEqual([]);
  });
});

describe('what is wanted', () => {
  it('comes references first, and is not what the destination has', async () => {
    const { wanted } = await select({ destination: await cacheOf(['libc']) });
    expect(wanted('app')).toEqual(['lib', 'app']);
    expect(wanted('doc', 'lib')).toEqual(['doc', 'lib']);
  });

  it('is with keys also what the destination has without their signature, which keeps its own', async () => {
    const destination = await signedCache(PATHS.slice(1, 3));
    const held = (await openReader(destination)).findEntry(hashPartFor('libc'));
    expect((await select({ destination }, { keys: [key] })).wanted('app')).toEqual(['app']);
    const { selection } = await select({ destination }, { keys: [other] });
    const wanted = [...selection.wanted([hashPartFor('lib')], () => true)];
    expect(wanted.map(({ entry }) => nameOf(entry.narInfo.path))).toEqual(['libc', 'lib']);
    expect(wanted[0]?.otherSigs).toEqual(held?.narInfo.sigs);
    expect(wanted[0]?.otherSigs).toEqual([signPathInfo(held?.narInfo as never, key)]);
  });

  it('is in the place of what no trusted key signed only what one has signed', async () => {
    const trustedKeys = [key.publicKey];
    const destination = await cacheOf([{ name: 'doc', build: 1 }]);
    expect((await select({ destination }, { trustedKeys })).wanted('doc')).toEqual([]);
    const source = await signedCache();
    expect((await select({ source, destination }, { trustedKeys })).wanted('doc')).toEqual(['doc']);
  });

  it('does not take signatures over from another build', async () => {
    const destination = new MemoryStore();
    await copyBetween(await cacheOf([{ name: 'doc', build: 1 }]), destination, { keys: [key] });
    const { selection } = await select({ destination }, { keys: [other] });
    expect([...selection.wanted([hashPartFor('doc')], () => true)].map(({ otherSigs }) => otherSigs)).toEqual([[]]);
  });

  it('says which segment lists it, and when it was asserted', async () => {
    const source = await cacheOf(['doc'], day(3));
    const { selection } = await select({ source });
    const [wanted] = selection.wanted([hashPartFor('doc')], () => false);
    expect(wanted).toMatchObject({ tag: [...source.tags.keys()].find((tag) => tag.startsWith('seg-')) });
    expect(wanted?.asserted).toBe(day(3).getTime() / 1000);
  });
});

it('a segment is allowed as a whole if nothing in it is refused', async () => {
  const source = await signedCache(PATHS.slice(2));
  await new CacheBuilder(source).publish({ at: day(100), paths: ['unsigned'] });
  const { selection, source: reader } = await select({ source }, { trustedKeys: [key.publicKey] });
  expect(reader.segments().map((segment) => selection.allows(segment))).toEqual(
    reader.segments().map((segment) => !nameOf(segment.entryAt(0).narInfo.path).startsWith('unsigned')),
  );
  expect(reader.segments().length).toBe(2);
  expect((await select({ source })).selection.allows(reader.segments()[0] as never)).toBe(true);
});

it('nor is one allowed whose entries are signed and refer to what is refused', async () => {
  const source = await signedCache();
  await new CacheBuilder(source).publish({ at: day(10_000), paths: [{ name: 'libc', build: 1 }] });
  const { selection, source: reader } = await select({ source }, { trustedKeys: [key.publicKey] });
  const signed = reader.segments().find(({ rows }) => rows.count > 1);
  if (!signed) throw new Error('there is none');
  expect(selection.allows(signed)).toBe(true);
  selection.survey(undefined);
  expect(selection.allows(signed)).toBe(false);
});

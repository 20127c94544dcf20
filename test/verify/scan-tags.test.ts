import { expect, it } from 'vitest';
import { Mirror } from '../../src/cache/read/mirror.ts';
import { announceCheckpoint, commitCheckpoint } from '../../src/cache/write/commit.ts';
import { encodeCheckpoint } from '../../src/cache-index/checkpoint.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { Findings } from '../../src/verify/finding.ts';
import { checkCacheIndex, scanTags, type TagScan } from '../../src/verify/scan-tags.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

/** What is found on day `now` of a cache whose one segment a gc of day 1 replaces, or has announced to replace. */
async function found(what: 'announced' | 'committed', now: number, act?: (store: MemoryStore) => void) {
  const store = new MemoryStore();
  const { tag } = await new CacheBuilder(store).publish({ at: day(0), paths: ['a'] });
  const checkpoint = encodeCheckpoint({
    ...{ replaces: [tag], segments: [], roots: [], pins: [], publicKeys: [], creator: 'gc', now: day(1) },
  });
  await announceCheckpoint(store, checkpoint, {});
  if (what === 'committed') await commitCheckpoint(store, checkpoint, {});
  act?.(store);
  const findings = new Findings();
  const mirror = await Mirror.open({ cache: store.name, use: 'recall' });
  const scan = await scanTags({ store, mirror, findings, now: day(now) });
  const kinds = findings.list.map(({ kind, what: of }) => [kind, of]);
  return { kinds, scan, replaced: tag, checkpoint: checkpoint.tag, record: checkpoint.record.tag };
}

const HOUR = 1 / 24;

it('takes a record without its checkpoint for that of a gc at work, for an hour', async () => {
  expect((await found('announced', 1 + 0.9 * HOUR)).kinds).toEqual([]);
  const { kinds, record } = await found('announced', 1 + 1.1 * HOUR);
  expect(kinds).toEqual([['record-orphan', record]]);
});

it('tells of what a checkpoint replaced and is still there after a week, longer than any grace period', async () => {
  expect((await found('committed', 7.9)).kinds).toEqual([]);
  const { kinds, replaced } = await found('committed', 8.1);
  expect(kinds).toEqual([['replaced-lingers', replaced]]);
});

it('finds a checkpoint damaged whose record is gone, though it can be read', async () => {
  const { kinds, scan, checkpoint } = await found('committed', 2, (store) => {
    for (const tag of store.tags.keys()) if (tag.startsWith('rec-')) store.tags.delete(tag);
  });
  expect(kinds).toEqual([['checkpoint-damaged', checkpoint]]);
  expect(scan).toMatchObject({ damagedCheckpoints: [checkpoint], lostCheckpoints: [] });
});

it('says which checkpoints are lost for good: nothing can stand for them', async () => {
  const { kinds, scan, checkpoint } = await found('committed', 2, (store) => {
    for (const tag of store.tags.keys()) {
      const parsed = parseTag(tag);
      if (parsed?.kind === 'checkpoint') store.blobs.delete(parsed.id);
    }
  });
  expect(kinds).toContainEqual(['checkpoint-unreadable', checkpoint]);
  expect(scan.lostCheckpoints).toEqual([checkpoint]);
});

const manifest = (text: string, annotations?: Descriptor['annotations']): Descriptor => ({
  ...{ mediaType: 'm', digest: digestOf(Buffer.from(text)), size: 1 },
  ...(annotations && { annotations }),
});

it.each<[string, Record<string, Descriptor>, Record<string, Descriptor>, readonly string[], string[]]>([
  ['is as it should be', { a: manifest('a') }, { a: manifest('a') }, [], []],
  [
    'lists what is gone',
    { a: manifest('a'), b: manifest('b') },
    { a: manifest('a') },
    [],
    ['lists one segment that are gone'],
  ],
  ['lists what was replaced', { a: manifest('a') }, { a: manifest('a') }, ['a'], ['lists one segment that are gone']],
  ['lacks some', {}, { a: manifest('a'), b: manifest('b') }, [], ['lacks 2 segments']],
  [
    'names another manifest',
    { a: manifest('x') },
    { a: manifest('a') },
    [],
    ['names another manifest for one segment'],
  ],
])('cache-index %s', (_, listed, segments, replaced, expected) => {
  const findings = new Findings();
  const scan = {
    descriptors: new Map(Object.entries(listed)),
    tags: new Set(Object.keys(segments)),
    live: { replaced: new Set(replaced) },
  } as unknown as TagScan;
  checkCacheIndex(scan, new Map(Object.entries(segments)), { findings });
  expect(findings.list.map(({ message }) => message)).toEqual(expected.map((each) => `cache-index ${each}`));
});

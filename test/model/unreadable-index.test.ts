/** A writer that cannot read the index, all of it, stops, and the registry is byte for byte as it was. */
import { beforeEach, expect, test } from 'vitest';
import { CACHE_INDEX_TAG, parseTag } from '../../src/cache-index/tags.ts';
import { describe } from '../../src/oci/descriptor.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { type ActorSpec, LongReader } from './actors.ts';
import { DAY_MS } from './ledger.ts';
import { FAITHFUL, type Round, runRound, START } from './scenario.ts';
import type { SimulatedRegistry } from './simulated-registry.ts';
import { World } from './world.ts';

const atWork = { skewHours: 0, faults: [], sparse: false, retainDays: 30 } as const;
const WRITERS: readonly ActorSpec[] = [
  { ...atWork, kind: 'publish', root: 'tool', source: 'github:owner/repo' },
  { ...atWork, kind: 'publish', root: 'suite', source: undefined },
  { ...atWork, kind: 'gc' },
  { ...atWork, kind: 'pin', name: 'new', path: 'curl' },
  { ...atWork, kind: 'unpin', name: 'stable' },
];

/** Ways for a cache to be unreadable. Those that only concern roots and pins do not stop a publisher, who needs none. */
const DAMAGE: readonly {
  readonly what: string;
  readonly publishersMind: boolean;
  readonly do: (registry: SimulatedRegistry) => void;
}[] = [
  {
    what: 'a cache-index that is no manifest',
    publishersMind: true,
    do: (registry) => replaceManifest(registry, CACHE_INDEX_TAG, 'not JSON'),
  },
  {
    what: 'a cache-index that is somebody else’s',
    publishersMind: true,
    do: (registry) => editManifest(registry, CACHE_INDEX_TAG, 'vnd.nixcache.cache-index.v1', 'vnd.other.index.v1'),
  },
  {
    what: 'a cache-index of a newer format',
    publishersMind: true,
    do: (registry) => editManifest(registry, CACHE_INDEX_TAG, 'format-version":"1"', 'format-version":"2"'),
  },
  {
    what: 'a segment of a newer format',
    publishersMind: true,
    do: (registry) => {
      const [tag = ''] = tagsOf(registry, 'segment');
      registry.pushManifest(tag.replace('seg-', 'seg2-'), ...contentAt(registry, tag));
    },
  },
  {
    what: 'a checkpoint without its config',
    publishersMind: true,
    do: (registry) => void registry.blobs.delete(idOf(registry, 'checkpoint')),
  },
  {
    what: 'a checkpoint with another config',
    publishersMind: true,
    do: (registry) => replaceBlob(registry, idOf(registry, 'checkpoint')),
  },
  {
    what: 'a segment without its entries',
    publishersMind: true,
    do: (registry) => void registry.blobs.delete(idOf(registry, 'segment')),
  },
  {
    what: 'a segment with other entries',
    publishersMind: true,
    do: (registry) => replaceBlob(registry, idOf(registry, 'segment')),
  },
  {
    what: 'a segment without its config',
    publishersMind: false,
    do: (registry) => void registry.blobs.delete(configOf(registry)),
  },
];

const TERMS = {
  ...{ isWild: false, isUsual: true, skewFactor: 1, skewMs: 0, retainMs: 30 * DAY_MS },
  ...{ staysClosed: true, keepsAtOnce: true },
};

let world: World;
let reader: LongReader;

const work = (round: Omit<Round, 'seed' | 'choices'>): Promise<void> =>
  runRound({ ...round, seed: 0, choices: 0 }, world, reader);

/** Old and new publishes, a pin, a checkpoint with what it replaced still there, and a segment newer than it. */
beforeEach(async () => {
  world = new World({ maxLayers: 1000, seed: 1, lagMs: 0, lagShare: 0, lostShare: 0 }, START, FAITHFUL, TERMS);
  reader = new LongReader(world);
  await work({ hours: 1, actors: [{ ...atWork, kind: 'publish', root: 'suite', source: 'github:owner/repo' }] });
  await work({ hours: 1, actors: [{ ...atWork, kind: 'pin', name: 'stable', path: 'app' }] });
  await work({ hours: 800, actors: [{ ...atWork, kind: 'publish', root: 'curl', source: 'github:owner/repo' }] });
  await work({ hours: 2, actors: [{ ...atWork, kind: 'gc' }] });
  await work({ hours: 2, actors: [{ ...atWork, kind: 'publish', root: 'docs', source: 'github:owner/other' }] });
  expect(world.broken).toBeUndefined();
});

const nameOf = (spec: ActorSpec): string => [spec.kind, 'root' in spec ? spec.root : ''].join(' ').trim();

test.each(WRITERS.map((spec) => [nameOf(spec), spec] as const))('%s works on the cache as it is', async (_, spec) => {
  const before = world.registry.snapshot();
  await work({ hours: 400, actors: [spec] });
  expect(world.story.at(-1)).toMatch(/is done$/);
  expect(world.registry.snapshot()).not.toEqual(before);
});

const cases = DAMAGE.flatMap(({ what, publishersMind, do: damage }) =>
  WRITERS.filter(({ kind }) => publishersMind || kind !== 'publish').map(
    (spec) => [nameOf(spec), what, spec, damage] as const,
  ),
);

test.each(cases)('%s stops at %s, and changes nothing', async (_, _what, spec, damage) => {
  world.registry.onChange = () => undefined;
  damage(world.registry);
  const before = world.registry.snapshot();
  await work({ hours: 400, actors: [spec] });
  expect(world.story.at(-1)).toMatch(/ fails: /);
  expect(world.broken).toBeUndefined();
  expect(world.registry.snapshot()).toEqual(before);
});

/** Oldest first; of segments only those that no checkpoint replaces. */
function tagsOf(registry: SimulatedRegistry, kind: 'segment' | 'checkpoint'): string[] {
  const replaced = new Set<string>();
  for (const tag of registry.tags.keys()) {
    const parsed = parseTag(tag);
    const blob = parsed?.kind === 'checkpoint' ? registry.blobs.get(parsed.id) : undefined;
    if (blob) for (const each of JSON.parse(String(blob.bytes)).replaces) replaced.add(each);
  }
  return [...registry.tags.keys()].filter((tag) => parseTag(tag)?.kind === kind && !replaced.has(tag)).sort();
}

const idOf = (registry: SimulatedRegistry, kind: 'segment' | 'checkpoint'): Digest =>
  parseTag(tagsOf(registry, kind)[0] ?? '')?.id ?? missing(kind);

function configOf(registry: SimulatedRegistry): Digest {
  const [tag = ''] = tagsOf(registry, 'segment');
  return decodeImageManifest(contentAt(registry, tag)[1], tag).config.digest;
}

function contentAt(registry: SimulatedRegistry, tag: string): [mediaType: string, bytes: Buffer] {
  const manifest = registry.manifests.get(registry.tags.get(tag) ?? missing(tag));
  return manifest ? [manifest.descriptor.mediaType, manifest.bytes] : missing(tag);
}

function replaceBlob(registry: SimulatedRegistry, digest: Digest): void {
  registry.blobs.set(digest, { bytes: Buffer.from('something else'), since: registry.now });
}

const editManifest = (registry: SimulatedRegistry, tag: string, from: string, to: string): void => {
  const text = String(contentAt(registry, tag)[1]);
  expect(text).toContain(from);
  replaceManifest(registry, tag, text.replace(from, to));
};

/** Behind the registry's back, who would not have taken it. */
function replaceManifest(registry: SimulatedRegistry, tag: string, text: string): void {
  const [mediaType] = contentAt(registry, tag);
  const bytes = Buffer.from(text);
  const descriptor = describe(mediaType, bytes);
  registry.plant(tag, { descriptor, bytes });
}

function missing(what: string): never {
  throw new Error(`the cache has no ${what}`);
}

import { describe, expect, it } from 'vitest';
import type { CheckpointConfig } from '../../src/cache-index/checkpoint.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import { BlobCopier } from '../../src/copy/blob-copier.ts';
import { copyCheckpoint, copySegments, findWideSegments, type WholeOptions } from '../../src/copy/whole-objects.ts';
import { NixcacheError } from '../../src/errors.ts';
import { CacheBuilder, namesIn, openReader, readView } from '../support/cache-builder.ts';
import { day, gcAt } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

async function optionsFor(source: MemoryStore, destination: MemoryStore): Promise<WholeOptions> {
  const copier = new BlobCopier({ source, destination, jobs: 2, onUploaded: () => undefined });
  return { source, destination, copier, view: await readView(source) };
}

describe('segments', () => {
  async function published(): Promise<MemoryStore> {
    const source = new MemoryStore();
    const cache = new CacheBuilder(source);
    for (const [i, name] of ['a', 'b', 'c', 'd', 'e'].entries()) await cache.publish({ at: day(i), paths: [name] });
    return source;
  }

  it('are committed in their order, with the same tags and manifests', async () => {
    const source = await published();
    const committed: string[] = [];
    const destination = new MemoryStore({
      onCall: (method, [tag]) => void (method === 'pushManifest' && committed.push(String(tag))),
    });
    const segments = (await openReader(source)).segments().toReversed();
    await copySegments(segments, await optionsFor(source, destination), () => undefined);
    expect(committed).toEqual(segments.map(({ tag }) => tag));
    for (const tag of committed) expect(destination.tags.get(tag)).toBe(source.tags.get(tag));
    expect(await namesIn(destination)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('behind one that cannot be had are not committed', async () => {
    const source = await published();
    const segments = (await openReader(source)).segments();
    const options = await optionsFor(source, new MemoryStore());
    source.manifests.delete(source.tags.get(segments[2]?.tag ?? '') ?? ('' as never));
    const committed: string[] = [];
    const copying = copySegments(segments, options, ({ tag }) => committed.push(tag));
    await expect(copying).rejects.toBeInstanceOf(NixcacheError);
    expect(committed).toEqual(segments.slice(0, 2).map(({ tag }) => tag));
  });

  it('are wide when they have more layers than the destination takes', async () => {
    const source = new MemoryStore();
    const cache = new CacheBuilder(source);
    await cache.publish({ at: day(0), paths: ['narrow'] });
    const wide = await cache.publish({ at: day(1), paths: ['w1', 'w2', 'w3', 'w4'], packed: false });
    const wideFor = async (destination: MemoryStore): Promise<string[]> => {
      const options = await optionsFor(source, destination);
      return [...(await findWideSegments(await openReader(source), await openReader(destination), options))];
    };
    expect(await wideFor(new MemoryStore({ maxLayers: 4 }))).toEqual([wide.tag]);
    expect(await wideFor(new MemoryStore())).toEqual([]);
  });
});

describe('a checkpoint', () => {
  /** A source after a gc, and a destination that has its live segments. */
  async function collected() {
    const source = new MemoryStore();
    const cache = new CacheBuilder(source);
    await cache.publish({ at: day(0), paths: ['old'], roots: ['old'] });
    await cache.publish({ at: day(50), paths: ['new'], roots: ['new'] });
    await gcAt(source, day(60));
    const destination = new MemoryStore();
    const options = await optionsFor(source, destination);
    await copySegments((await openReader(source)).segments(), options, () => undefined);
    const [[tag, config] = ['', {} as CheckpointConfig]] = [...options.view.checkpoints];
    const live = new Set(options.view.live.segments);
    const copy = (isLive = (name: string): boolean => live.has(name)) =>
      copyCheckpoint(tag, config, { ...options, isLive });
    const ofCheckpoints = (): string[] =>
      [...destination.tags.keys()].filter((name) => parseTag(name)?.kind !== 'segment').sort();
    return { source, destination, tag, config, live, copy, ofCheckpoints };
  }

  it('is taken over with its record where the destination has what it lists', async () => {
    const { source, destination, tag, copy, ofCheckpoints } = await collected();
    expect(await copy()).toBe(true);
    expect(ofCheckpoints()).toEqual([tag, tag.replace('ckpt-', 'rec-')]);
    for (const name of ofCheckpoints()) expect(destination.tags.get(name)).toBe(source.tags.get(name));
    expect(await namesIn(destination)).toEqual(['new']);
  });

  it('is not where it replaces what is live at the destination: that would be lost', async () => {
    const { config, live, copy, ofCheckpoints } = await collected();
    expect(await copy((name) => live.has(name) || name === config.replaces[0])).toBe(false);
    expect(ofCheckpoints()).toEqual([]);
  });

  it('is not where the destination lacks what it lists', async () => {
    const { copy, ofCheckpoints } = await collected();
    expect(await copy(() => false)).toBe(false);
    expect(ofCheckpoints()).toEqual([]);
  });

  it('is not without its record', async () => {
    const { source, tag, copy, ofCheckpoints } = await collected();
    source.tags.delete(tag.replace('ckpt-', 'rec-'));
    expect(await copy()).toBe(false);
    expect(ofCheckpoints()).toEqual([]);
  });
});

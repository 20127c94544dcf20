import { expect, it } from 'vitest';
import { Survivors } from '../../src/gc/survivors.ts';
import { encodeManifest, IMAGE_INDEX } from '../../src/oci/manifest.ts';
import { censusOf, segmentOfDay } from '../support/gc-inputs.ts';
import { MemoryStore } from '../support/memory-store.ts';

it('a manifest under the tag of a segment that is none shares nothing, and stops nothing', async () => {
  const store = new MemoryStore();
  const tag = segmentOfDay(1);
  const { digest } = await store.pushManifest(
    tag,
    IMAGE_INDEX,
    encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [] }),
  );
  const survivors = new Survivors(store, censusOf({ segments: [] }), { untouched: [], outputs: [], packs: [] });
  expect(await survivors.sample([{ tag, digest }], {})).toEqual([]);
});

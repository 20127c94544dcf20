/** Arbitrary values of the cache's own formats, for properties. */
import fc from 'fast-check';
import { type Entry, fileHashOf, narUrl, wholeBlob } from '../../src/cache-index/entry.ts';
import type { Extent } from '../../src/cache-index/extent.ts';
import type { Pin, Root } from '../../src/cache-index/records.ts';
import { checkpointTag, segmentTag } from '../../src/cache-index/tags.ts';
import type { Realisation } from '../../src/nix/realisation.ts';
import { baseNameOf, type StorePath } from '../../src/nix/store-path.ts';
import { type Digest, digestOf, hexOf } from '../../src/oci/digest.ts';
import { baseName, narInfo } from './nix-arbitraries.ts';

const digest = (): fc.Arbitrary<Digest> => fc.uint8Array({ maxLength: 4 }).map((bytes) => digestOf(bytes));

export const extent = (): fc.Arbitrary<Extent> =>
  fc.record({ digest: digest(), offset: fc.nat(), length: fc.nat({ max: 1_000_000 }) });

const extents = (): fc.Arbitrary<Extent[]> => fc.array(extent(), { minLength: 1, maxLength: 3 });

/** Blobs of their own, in packs and in parts; with and without a listing. */
export const entry = (): fc.Arbitrary<Entry> =>
  fc
    .record(
      {
        info: narInfo(),
        digest: digest(),
        size: fc.nat(),
        packed: extents(),
        listing: fc.record({ digest: digest(), extents: extents() }),
        leavesOut: fc.boolean(),
        realised: fc.uniqueArray(fc.nat({ max: 9 }), { minLength: 1, maxLength: 3 }),
        asserted: fc.nat(),
      },
      { requiredKeys: ['info', 'digest', 'size'] },
    )
    .map(({ info, digest: file, size, packed, listing, leavesOut, realised, asserted }) => {
      const { extra: _, compression, ...rest } = info;
      const fileHash = fileHashOf(file);
      const fileSize = packed ? packed.reduce((sum, { length }) => sum + length, 0) : size;
      return {
        narInfo: { ...rest, compression, url: narUrl(fileHash, compression), fileHash, fileSize },
        nar: packed ?? [wholeBlob(file, size)],
        ...(listing && { listing }),
        ...(leavesOut && rest.references.length > 0 && { leftOut: rest.references.slice(0, 2) }),
        ...(realised && { realisations: realised.map((seed) => realisationOf(rest.path, seed)) }),
        ...(asserted !== undefined && { asserted }),
      };
    });

const realisationOf = (path: StorePath, seed: number): Realisation => ({
  id: `sha256:${hexOf(digestOf(Buffer.from(`${path} ${seed}`)))}!out`,
  outPath: baseNameOf(path),
  dependentRealisations: {},
  signatures: [`key-${seed}:AAAA`],
});

export const root = (): fc.Arbitrary<Root> =>
  fc.record(
    {
      name: fc.constantFrom('packages.a', 'packages.b', 'devShells.c'),
      path: fc.constantFrom(...PATHS),
      system: fc.constantFrom('x86_64-linux', 'aarch64-darwin'),
      source: fc.constantFrom('github:o/r', 'github:o/s'),
      revision: fc.constant('abc'),
      time: fc.nat({ max: 5 }),
      run: fc.constantFrom('1', '2', '3'),
    },
    { requiredKeys: ['name', 'path', 'time', 'run'] },
  );

export const pin = (): fc.Arbitrary<Pin> =>
  fc.record(
    {
      name: fc.constantFrom('stable', 'latest'),
      path: fc.constantFrom(...PATHS),
      time: fc.nat({ max: 5 }),
      removed: fc.boolean(),
    },
    { requiredKeys: ['name', 'time'] },
  );

const PATHS = fc.sample(baseName(), { numRuns: 3, seed: 1 });

const date = (): fc.Arbitrary<Date> => fc.integer({ min: 1, max: 2 ** 45 }).map((ms) => new Date(ms));
export const anySegmentTag = (): fc.Arbitrary<string> =>
  fc.tuple(digest(), date()).map(([id, at]) => segmentTag(id, at));
export const anyCheckpointTag = (): fc.Arbitrary<string> =>
  fc.tuple(digest(), date()).map(([id, at]) => checkpointTag(id, at));

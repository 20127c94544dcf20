/**
 * The behaviour that every content store owes. Each implementation's test file calls this once; `open` gives a store
 * that is empty, and that shares its repository with no other test.
 */
import { describe } from 'vitest';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { testAborts, testBlobs, testRanges } from './blob-store.suite.ts';
import { testDeletion, testManifests } from './manifest-store.suite.ts';

export interface ContentStoreTraits {
  /** Whether `deleteManifest` works here; by default, whether it is there. */
  readonly deletes?: boolean;
  /** Whether a blob's digest asked for as a manifest is absent; distribution 2.8 answers 500. Default true. */
  readonly tellsBlobsFromManifests?: boolean;
}

export function testContentStore(
  name: string,
  open: () => Promise<ContentStore>,
  traits: ContentStoreTraits = {},
): void {
  describe(`${name} is a content store`, () => {
    describe('blobs', () => testBlobs(open));
    describe('ranges', () => testRanges(open));
    describe('aborts', () => testAborts(open));
    describe('manifests and tags', () => testManifests(open, traits));
    if (traits.deletes !== false) describe('deletion', () => testDeletion(open));
  });
}

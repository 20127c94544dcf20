import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { decodeCheckpointConfig, encodeCheckpoint, tagOf } from '../../src/cache-index/checkpoint.ts';
import { decodeEntries } from '../../src/cache-index/entries-blob.ts';
import { parseEntry } from '../../src/cache-index/entry.ts';
import * as mediaTypes from '../../src/cache-index/media-types.ts';
import { decodeSegmentConfig, encodeSegment, type SegmentInput } from '../../src/cache-index/segment.ts';
import { parseTag } from '../../src/cache-index/tags.ts';
import { isNixcacheError } from '../../src/errors.ts';
import type { Descriptor } from '../../src/oci/descriptor.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { decodeImageIndex, decodeImageManifest } from '../../src/oci/manifest.ts';
import { entry, pin, root } from '../support/cache-arbitraries.ts';
import { hashPartFor } from '../support/cache-builder.ts';
import { entryOf } from '../support/gc-inputs.ts';

const now = new Date('2026-11-20T12:00:00Z');
const blobOf = (name: string): Descriptor => ({
  mediaType: mediaTypes.NAR,
  digest: digestOf(Buffer.from(`nar ${name}`)),
  size: 100,
});
const input: SegmentInput = {
  entries: ['a', 'b'].map((name) => entryOf({ name })),
  blobs: ['a', 'b'].map(blobOf),
  storeDir: '/nix/store',
  creator: 'test',
  now,
};

describe('a segment', () => {
  it('names its entries first, then every blob they need, under a tag that names the entries', () => {
    const { tag, blobs, manifest, descriptor } = encodeSegment(input);
    const { config, layers, annotations } = decodeImageManifest(manifest, 'manifest');
    const [entries, configBlob] = blobs;
    expect(layers).toEqual([entries?.descriptor, ...['a', 'b'].map(blobOf)]);
    expect(parseTag(tag)).toMatchObject({ kind: 'segment', time: now.getTime(), id: entries?.descriptor.digest });
    expect(config).toEqual(configBlob?.descriptor);
    expect(annotations).toEqual({
      'io.nixcache.tag': tag,
      'org.opencontainers.image.created': '2026-11-20T12:00:00.000Z',
    });
    expect(descriptor).toMatchObject({
      digest: digestOf(manifest),
      size: manifest.length,
      artifactType: mediaTypes.SEGMENT,
      annotations: { 'io.nixcache.tag': tag, 'io.nixcache.entries.size': String(entries?.bytes.length) },
    });
    const hashes = ['a', 'b'].map(hashPartFor).sort();
    expect(decodeSegmentConfig(configBlob?.bytes ?? Buffer.alloc(0), 'config')).toMatchObject({
      formatVersion: 1,
      entryCount: 2,
      firstHash: hashes[0],
      lastHash: hashes[1],
    });
    expect(decodeEntries(entries?.bytes ?? Buffer.alloc(0), 'entries').toString()).toMatch(
      /^StorePath: .*\n\nStorePath/s,
    );
  });

  it('has a digest of its own, even when its content is that of another', () => {
    expect(digestOf(encodeSegment(input).manifest)).not.toBe(digestOf(encodeSegment(input).manifest));
  });

  it('is never made without a blob that its entries need', () => {
    expect(() => encodeSegment({ ...input, blobs: [blobOf('a')] })).toThrow(/would not reach/);
  });
});

describe('a checkpoint', () => {
  const segments = [encodeSegment(input).descriptor, encodeSegment(input).descriptor];
  const checkpoint = encodeCheckpoint({
    ...{ replaces: ['b', 'a'], segments, roots: [], pins: [], publicKeys: ['k:1'], creator: 'test', now },
  });

  it('lists its record and its segments, and is named after its config', () => {
    const { manifests, annotations } = decodeImageIndex(checkpoint.index, 'index');
    expect(manifests).toEqual([checkpoint.record.descriptor, ...segments]);
    expect(annotations?.['io.nixcache.tag']).toBe(checkpoint.tag);
    expect(parseTag(checkpoint.tag)?.id).toBe(checkpoint.config.descriptor.digest);
    const record = decodeImageManifest(checkpoint.record.bytes, 'record');
    expect(record.config).toEqual(checkpoint.config.descriptor);
    expect(record.annotations?.['io.nixcache.tag']).toBe(checkpoint.record.tag);
  });

  it('says what it replaces and which segments stand', () => {
    expect(decodeCheckpointConfig(checkpoint.config.bytes, 'config')).toMatchObject({
      replaces: ['a', 'b'],
      segments: segments.map((segment) => tagOf(segment)).sort(),
      publicKeys: ['k:1'],
    });
  });
});

describe('a config', () => {
  it('of a newer format is told apart from a damaged one', () => {
    const config = (json: unknown) => () => decodeSegmentConfig(Buffer.from(JSON.stringify(json)), 'config');
    expect(config({ formatVersion: 2, whatever: true })).toThrow(
      expect.objectContaining({ code: 'ERR_INDEX_VERSION' }),
    );
    expect(config({ formatVersion: 1 })).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
    expect(config([])).toThrow(expect.objectContaining({ code: 'ERR_INDEX' }));
  });
});

test('a segment gives back its entries, roots and pins', () => {
  fc.assert(
    fc.property(fc.array(entry(), { maxLength: 3 }), fc.array(root()), fc.array(pin()), (entries, roots, pins) => {
      const digests = entries.flatMap(({ nar, listing }) => [...nar, ...(listing?.extents ?? [])]);
      const blobs = digests.map(({ digest }) => ({ mediaType: mediaTypes.PACK, digest, size: 1 }));
      const { blobs: stored } = encodeSegment({ ...input, entries, blobs, roots, pins });
      const [text, config] = stored;
      const parsed = decodeEntries(text?.bytes ?? Buffer.alloc(0), 'entries')
        .toString()
        .split('\n\n')
        .filter((one) => one !== '')
        .map((one) => parseEntry(one.endsWith('\n') ? one : `${one}\n`, '/nix/store'));
      expect(parsed).toHaveLength(entries.length);
      expect(parsed).toEqual(expect.arrayContaining(entries));
      expect(decodeSegmentConfig(config?.bytes ?? Buffer.alloc(0), 'config')).toMatchObject({ roots, pins });
    }),
  );
});

test('garbage in place of a config, a manifest or an index never throws anything but ERR_INDEX', () => {
  const decoders = [decodeSegmentConfig, decodeCheckpointConfig, decodeImageManifest, decodeImageIndex];
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      for (const decode of decoders) {
        try {
          decode(Buffer.from(text), 'it');
        } catch (error) {
          if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_INDEX_VERSION')) throw error;
        }
      }
    }),
  );
});

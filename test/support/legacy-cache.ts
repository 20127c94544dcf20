/** Writes caches as cmspam/nixcache-oci does (lib/cache-builder.sh at 6a4b9e4), byte for byte where it matters. */
import { createHash } from 'node:crypto';
import { xz } from '@napi-rs/lzma';
import { LEGACY_INDEX } from '../../src/cache/read/legacy-index.ts';
import { CACHE_INDEX_TAG } from '../../src/cache-index/tags.ts';
import { hashFromBytes } from '../../src/nix/hash.ts';
import { type SecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { type BaseName, hashPartOf, nameOf, toStorePath } from '../../src/nix/store-path.ts';
import { bytesContent } from '../../src/oci/bytes-content.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';
import { IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { hashToSri } from './nix-arbitraries.ts';

export interface LegacyPath {
  readonly baseName: BaseName;
  readonly nar: Buffer;
  readonly references?: readonly BaseName[];
  readonly deriver?: string;
  /** A content address, which that tool loses. */
  readonly ca?: string;
}

export interface LegacyCacheOptions {
  readonly key?: SecretKey;
  /** `gc_roots` */
  readonly roots?: readonly BaseName[];
  readonly at?: Date;
  /** Changes the index before it is written. */
  readonly edit?: (index: LegacyIndexJson) => void;
}

interface LegacyIndexJson {
  version: number;
  repo: string;
  registry: string;
  image: string;
  generated: string;
  public_key: string;
  entries: Record<string, { name: string; narinfo: string; nar_digest: string; nar_size: number; added: string }>;
  gc_roots: string[];
}

const CONFIG = Buffer.from('{}\n');

/** Writes all of `paths` and the index over them; gives the blobs of their NARs. */
export async function writeLegacyCache(
  store: ContentStore,
  paths: readonly LegacyPath[],
  { key, roots = [], at = new Date('2026-04-25T10:00:00Z'), edit }: LegacyCacheOptions = {},
): Promise<readonly Descriptor[]> {
  const added = at.toISOString().replace(/\.\d+Z$/, 'Z');
  const index: LegacyIndexJson = {
    entries: {},
    gc_roots: roots.map(hashPartOf).sort(),
    generated: added,
    image: 'ghcr.io/owner/repo/nix-cache',
    public_key: key?.publicKey.text ?? '',
    registry: 'ghcr.io',
    repo: 'owner/repo',
    version: 1,
  };
  const blobs: Descriptor[] = [];
  for (const path of paths) {
    const file = xz.compressSync(path.nar);
    const blob = describe('application/octet-stream', file);
    await store.pushBlob(blob, bytesContent(file));
    blobs.push(blob);
    index.entries[hashPartOf(path.baseName)] = {
      added,
      name: nameOf(path.baseName),
      nar_digest: blob.digest,
      nar_size: file.length,
      narinfo: narInfoOf(path, file, key),
    };
  }
  edit?.(index);
  const json = Buffer.from(JSON.stringify(index, undefined, 2));
  const layer = describe(LEGACY_INDEX, json);
  const config = describe('application/vnd.oci.image.config.v1+json', CONFIG);
  await store.pushBlob(layer, bytesContent(json));
  await store.pushBlob(config, bytesContent(CONFIG));
  const manifest = { schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers: [layer] };
  await store.pushManifest(CACHE_INDEX_TAG, IMAGE_MANIFEST, Buffer.from(JSON.stringify(manifest)));
  return blobs;
}

/** As its Python one-liner writes it: URL by store hash, NAR hash as path-info has it, no References line if there are none, no CA. */
function narInfoOf({ baseName, nar, references = [], deriver }: LegacyPath, file: Buffer, key?: SecretKey): string {
  const path = toStorePath(baseName);
  const narHash = hashFromBytes(createHash('sha256').update(nar).digest());
  const info = { path, narHash, narSize: nar.length, references: [...references].sort() };
  const lines = [
    `StorePath: ${path}`,
    `URL: nar/${hashPartOf(path)}.nar.xz`,
    'Compression: xz',
    `FileHash: ${hashFromBytes(createHash('sha256').update(file).digest())}`,
    `FileSize: ${file.length}`,
    `NarHash: ${hashToSri(narHash)}`,
    `NarSize: ${nar.length}`,
    ...(references.length > 0 ? [`References: ${info.references.join(' ')}`] : []),
    ...(deriver === undefined ? [] : [`Deriver: ${deriver}`]),
    ...(key === undefined ? [] : [`Sig: ${signPathInfo(info, key)}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Caches whose entries are signed well or otherwise. */
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { decodeImageManifest } from '../../src/oci/manifest.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

export const ours = generateKey('ours-1');
export const theirs = generateKey('theirs-1');

/** Three paths, signed as told, with the public keys named. */
export async function cacheOf(
  sign: 'well' | 'wrongly' | 'unknown' | 'not',
  keys: readonly string[],
): Promise<MemoryStore> {
  const store = new MemoryStore();
  const { tag } = await new CacheBuilder(store).publish({ at: day(0), paths: ['a', 'b', 'c'] });
  const reader = await IndexReader.open({ store, strict: true });
  await reader.refresh();
  const manifest = await store.fetchManifest(tag);
  const key = parseSecretKey(sign === 'unknown' ? theirs.secret : ours.secret);
  const entries = [...reader.entries()].map(({ entry }) => {
    const { narInfo } = entry;
    const signed = sign === 'wrongly' ? { ...narInfo, narSize: 1 } : narInfo;
    return { ...entry, narInfo: { ...narInfo, sigs: sign === 'not' ? [] : [signPathInfo(signed, key)] } };
  });
  const blobs = decodeImageManifest(manifest?.bytes ?? Buffer.alloc(0), tag).layers.slice(1);
  const now = day(1);
  await commitSegment(store, encodeSegment({ entries, blobs, storeDir: '/nix/store', creator: 'test', now }), {});
  await new CacheBuilder(store).publish({ at: day(2), roots: ['a'], publicKeys: keys });
  return store;
}

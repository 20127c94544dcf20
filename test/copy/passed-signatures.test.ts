import { expect, it } from 'vitest';
import { findSigner, generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { CacheBuilder, openReader } from '../support/cache-builder.ts';
import { copyBetween } from '../support/copy-runs.ts';
import { day } from '../support/gc-runs.ts';
import { MemoryStore } from '../support/memory-store.ts';

const key = parseSecretKey(generateKey('passed-1').secret);

it('signatures that the destination lacks are passed on, without upload, once', async () => {
  const [store, signed, copy] = [new MemoryStore(), new MemoryStore(), new MemoryStore()];
  await new CacheBuilder(store).publish({ at: day(0), paths: ['libc', { name: 'lib', references: ['libc'] }] });
  await copyBetween(store, signed, { keys: [key] });
  await copyBetween(store, copy);
  const blobs = copy.blobs.size;
  for (const written of [1, 0]) expect((await copyBetween(signed, copy)).report.segments).toMatchObject({ written });
  const entries = [...(await openReader(copy)).entries()];
  expect(entries.every(({ entry }) => findSigner(entry.narInfo, [key.publicKey]))).toBe(true);
  // The entries and the config of one segment.
  expect(copy.blobs.size).toBe(blobs + 2);
});

import { describe, expect, it } from 'vitest';
import { replaceCacheIndex } from '../../src/cache/write/cache-index.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { CacheBuilder } from '../support/cache-builder.ts';
import { day } from '../support/gc-runs.ts';
import { memoryVandal, tagsOf } from '../support/vandal.ts';
import { kindsOf, verify } from '../support/verify-runs.ts';

import { commitAltered, entriesOf, filled, segmentDescriptorAt } from './altered-caches.ts';

describe('signatures', () => {
  const key = parseSecretKey(generateKey('test-1').secret);
  const signed = async (names: readonly string[]): Promise<ContentStore> => {
    const { store } = memoryVandal();
    const cache = new CacheBuilder(store);
    await cache.publish({ at: day(0), paths: ['a', 'b'], publicKeys: [key.publicKey.text] });
    const entries = (await entriesOf(store)).filter(({ narInfo }) => names.includes(narInfo.path.slice(44)));
    await commitAltered(
      store,
      entries.map((entry) => ({ ...entry, narInfo: { ...entry.narInfo, sigs: [signPathInfo(entry.narInfo, key)] } })),
      {},
    );
    const segments = new Map();
    for (const tag of await tagsOf(store, 'segment')) segments.set(tag, await segmentDescriptorAt(store, tag));
    await replaceCacheIndex(store, { segments, publicKeys: [key.publicKey.text], now: day(9) });
    return store;
  };

  it('wants each path signed by a key that the cache names, in its newest form', async () => {
    expect(kindsOf((await verify(await signed(['a', 'b']))).findings)).toEqual([]);
    const { findings } = await verify(await signed(['a']));
    expect(findings).toMatchObject([{ kind: 'unsigned', severity: 'warning', what: expect.stringMatching(/-b$/) }]);
  });

  it('tells of a key that the cache names and that is none, and goes by the others', async () => {
    const store = await signed(['a', 'b']);
    await new CacheBuilder(store).publish({ at: day(9), publicKeys: ['broken-1:AAAA'] });
    const { findings } = await verify(store);
    expect(findings).toMatchObject([{ kind: 'key-malformed', severity: 'warning', what: 'broken-1:AAAA' }]);
  });

  it('wants each path signed by a key that the user names', async () => {
    const trustedPublicKeys = [parseSecretKey(generateKey('other-1').secret).publicKey.text];
    const { findings } = await verify(await signed(['a', 'b']), { trustedPublicKeys });
    expect(findings.map(({ kind }) => kind)).toEqual(['untrusted', 'untrusted']);
    expect(findings[0]?.message).toContain('only others signed it: test-1');
  });

  it('warns once where there is no key at all', async () => {
    const { store } = memoryVandal();
    await filled(store);
    const { findings } = await verify(store);
    expect(findings).toMatchObject([{ kind: 'unsigned-cache', severity: 'warning' }]);
  });
});

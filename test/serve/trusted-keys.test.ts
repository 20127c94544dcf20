/** What keys decide, and which are told of. */
import { describe, expect, it } from 'vitest';
import { parsePublicKey } from '../../src/nix/signature.ts';
import { noise } from '../support/bytes.ts';
import { baseName, hashPart, newKey, setUpApp } from './set-up.ts';

const KEY = newKey('test-1');

const LISTING = '{"version":1,"root":{"type":"directory","entries":{}}}';

describe('trusted keys', () => {
  it('keep everything back that none of them signed', async () => {
    const { reader, ask, events } = setUpApp({ trustedPublicKeys: [parsePublicKey(KEY.publicKey.text)] });
    const signed = reader.add({
      baseName: baseName(1),
      nar: noise(100, 1),
      keys: [newKey('x-1'), KEY],
      listing: LISTING,
    });
    const unsigned = reader.add({ baseName: baseName(2), nar: noise(100, 2), listing: LISTING });
    const forged = reader.add({
      baseName: baseName(3),
      nar: noise(100, 3),
      keys: [newKey('test-1')],
      listing: LISTING,
    });
    for (const [seed, { narInfo }, status] of [
      [1, signed, 200],
      [2, unsigned, 404],
      [3, forged, 404],
    ] as const) {
      for (const url of [`/${hashPart(seed)}.narinfo`, `/${narInfo.url}`, `/${hashPart(seed)}.ls`]) {
        expect([url, (await ask(url)).status]).toEqual([url, status]);
      }
    }
    await ask(`/${hashPart(2)}.narinfo`);
    const refused = events.filter((event) => event.type === 'refused' && event.path.endsWith('.narinfo'));
    expect(refused).toHaveLength(2); // once each
  });
});

describe('public keys', () => {
  it('are ours and those that the cache names, once each', async () => {
    const { reader, ask } = setUpApp({ publicKeys: ['a:1', 'b:2'] });
    reader.publicKeys.push('b:2', 'c:3');
    expect(String((await ask('/public-key')).body)).toBe('a:1\nb:2\nc:3\n');
    reader.faults.unreachable = true;
    expect(String((await ask('/public-key')).body)).toBe('a:1\nb:2\n');
  });

  it('are none that the cache names where only trusted ones count', async () => {
    const trusted = newKey('trusted-1').publicKey;
    const { reader, ask } = setUpApp({ publicKeys: ['a:1'], trustedPublicKeys: [trusted] });
    reader.publicKeys.push('evil-1:AAAA', 'a:1');
    expect(String((await ask('/public-key')).body)).toBe(`a:1\n${trusted.text}\n`);
    expect(JSON.parse(String((await ask('/_status')).body))).toMatchObject({ trustedPublicKeys: [trusted.text] });
  });

  it('are 404 when there are none', async () => {
    expect((await setUpApp().ask('/public-key')).status).toBe(404);
  });
});

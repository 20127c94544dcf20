import { describe, expect, it } from 'vitest';
import { copySettings } from '../../src/config/copy-settings.ts';
import type { Flags } from '../../src/config/setting.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { sources } from './sources.ts';

const key = generateKey('some-1').public;
const settings = async (source: string, flags: Flags = {}, ...[destination = 'oci:/mirror', ...paths]: string[]) =>
  copySettings([source, destination, ...paths], await sources({ flags }));

describe('copy settings', () => {
  it('tell a cache from a binary cache', async () => {
    expect((await settings('oci:/cache')).source).toMatchObject({ kind: 'cache', cache: { name: 'oci:/cache' } });
    expect((await settings('ghcr.io/o/r')).source).toMatchObject({ kind: 'cache', cache: { name: 'ghcr.io/o/r' } });
    expect((await settings('file:///old')).source).toMatchObject({
      kind: 'upstream',
      upstream: { url: 'file:///old' },
    });
    expect((await settings('oci:/cache')).destination.name).toBe('oci:/mirror');
  });

  it('trust the keys of a known cache, those that are given, or nobody', async () => {
    const to = ['oci:/mirror', '/nix/store/x'];
    expect((await settings('https://cache.nixos.org', {}, ...to)).trustedKeys[0]?.name).toBe('cache.nixos.org-1');
    expect((await settings('https://x.org', { trustedPublicKey: [key] }, ...to)).trustedKeys[0]?.name).toBe('some-1');
    expect((await settings('https://x.org', { checkSigs: false }, ...to)).trustedKeys).toEqual([]);
    expect((await settings('oci:/cache')).trustedKeys).toEqual([]);
    expect((await settings('file:///old')).trustedKeys).toEqual([]);
  });

  it('sign only when that is asked for', async () => {
    const env = { NIX_SIGNING_KEY: 'secret' };
    expect(copySettings(['oci:/a', 'oci:/b'], await sources({ env })).signingKeys).toEqual([]);
    expect((await settings('oci:/a', { keyFile: ['/key'] })).signingKeys).toEqual([
      { from: '--key-file', file: '/key' },
    ]);
  });

  it.each<[string, Parameters<typeof settings>, RegExp]>([
    [
      'a cache that cannot be listed',
      ['https://cache.nixos.org'],
      /cannot be listed: name store paths after oci:\/mirror, or -/,
    ],
    [
      'a cache whose keys are not known',
      ['https://x.org', {}, 'oci:/mirror', '/x'],
      /--trusted-public-key NAME:BASE64/,
    ],
    ['a destination that is a URL', ['oci:/a', {}, 'https://x.org'], /write ghcr\.io/],
    ['roots of what has none', ['file:///a', { root: ['x'] }], /knows no roots/],
    ['keys and none', ['oci:/a', { checkSigs: false, trustedPublicKey: [key] }], /exclude each other/],
    ['no number', ['oci:/a', { jobs: '0' }], /^--jobs: '0' is not a number of jobs/],
    ['a key that is none', ['oci:/a', { trustedPublicKey: ['x'] }], /^--trusted-public-key: /],
    ['a source that is none', ['./dir'], /^SRC: /],
    ['a destination that is none', ['oci:/a', {}, './dir'], /^DST: /],
  ])('refuse %s', async (_what, args, message) => {
    await expect(settings(...args)).rejects.toThrow(message);
  });
});

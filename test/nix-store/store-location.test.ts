import { expect, it } from 'vitest';
import { locateStore } from '../../src/nix-store/store-location.ts';

const AROUND = { env: {}, cwd: '/here', isRoot: true, exists: () => false };
const BOTH = { storeDir: '/nix/store', realStoreDir: '/nix/store' };

it.each([
  ['auto', BOTH],
  ['daemon', BOTH],
  ['local', BOTH],
  ['local://', BOTH],
  ['unix:///run/nix.socket', BOTH],
  ['local?root=/x', { storeDir: '/nix/store', realStoreDir: '/x/nix/store' }],
  ['local://?root=/x', { storeDir: '/nix/store', realStoreDir: '/x/nix/store' }],
  ['local:///x', { storeDir: '/nix/store', realStoreDir: '/x/nix/store' }],
  ['local?root=/with%20space', { storeDir: '/nix/store', realStoreDir: '/with space/nix/store' }],
  ['/x', { storeDir: '/nix/store', realStoreDir: '/x/nix/store' }],
  ['./x', { storeDir: '/nix/store', realStoreDir: '/here/x/nix/store' }],
  ['local?real=/y', { storeDir: '/nix/store', realStoreDir: '/y' }],
  ['local?root=/x&real=/y', { storeDir: '/nix/store', realStoreDir: '/y' }],
  ['unix://?root=/x', { storeDir: '/nix/store', realStoreDir: '/x/nix/store' }],
  ['local?store=/s', { storeDir: '/s', realStoreDir: '/s' }],
  ['local?store=/s&root=/x', { storeDir: '/s', realStoreDir: '/x/nix/store' }],
])('%s', (url, expected) => {
  expect(locateStore(url, AROUND)).toEqual(expected);
});

it('takes the store directory from the environment', () => {
  const env = { NIX_STORE_DIR: '/own/store' };
  expect(locateStore('auto', { ...AROUND, env })).toEqual({ storeDir: '/own/store', realStoreDir: '/own/store' });
});

it("finds the store at home of a user without Nix's directories", () => {
  const around = { env: { HOME: '/home/u' }, cwd: '/', isRoot: false };
  const root = '/home/u/.local/share/nix/root';
  expect(locateStore('auto', { ...around, exists: (path) => path === root }).realStoreDir).toBe(`${root}/nix/store`);
  expect(locateStore('auto', { ...around, exists: () => true })).toEqual(BOTH);
  expect(locateStore('auto', { ...around, isRoot: true, exists: (path) => path === root })).toEqual(BOTH);
});

it.each(['ssh-ng://host', 'https://cache.nixos.org', 's3://bucket'])('refuses %s, whose bytes are elsewhere', (url) => {
  expect(() => locateStore(url, AROUND)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
});

import { expect, it } from 'vitest';
import { withoutSecrets } from '../../src/nix-store/flake-source.ts';

it.each([
  ['https://user:PW@host/f.tar.gz?token=T', 'https://host/f.tar.gz'],
  ['https://TOKEN@host/f.tar.gz', 'https://host/f.tar.gz'],
  ['git+https://me:P%2FW@host:8443/r?dir=a&ref=main&private_token=x', 'git+https://host:8443/r?dir=a&ref=main'],
  ['git+ssh://git:PW@host/r', 'git+ssh://git@host/r'],
  ['git+https://a@b@host/r', 'git+https://host/r'],
  ['https://host/f.tar.gz#fragment', 'https://host/f.tar.gz'],
])('%s is stored as %s', (url, stored) => {
  expect(withoutSecrets(url)).toBe(stored);
});

it.each([
  'github:o/r',
  'github:o/r/branch?dir=sub&host=github.example.org',
  'git+ssh://git@github.com/o/r?ref=main',
  'git+file:///home/me/a@b?submodules=1&shallow=1',
  'path:/x/y?lastModified=1&narHash=sha256-AAAA%2F+%3D',
  'https://host/@scope/f.tar.gz',
  'flake:nixpkgs',
  '/home/me/project',
])('%s holds none', (url) => {
  expect(withoutSecrets(url)).toBe(url);
});

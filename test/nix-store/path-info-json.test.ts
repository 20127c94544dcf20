import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { parsePathInfoJson } from '../../src/nix-store/path-info-json.ts';

const recorded = (name: string): unknown =>
  JSON.parse(readFileSync(join(import.meta.dirname, 'golden', `${name}.txt`), 'utf8'));

describe.each(['2.8.0', '2.26.3', '2.34.8'])('what Nix %s prints', (version) => {
  const infos = parsePathInfoJson(recorded(`path-info-${version}`), '/nix/store');

  it('is read into infos', () => {
    // Hashes by `nix hash to-base32`, Nix 2.8.0.
    expect(infos.map(({ sigs, ...info }) => ({ ...info, sigs: sigs.length }))).toEqual([
      {
        path: '/nix/store/idm856j26zhybsdclpq7xk9hn0g3z34n-lib',
        narHash: 'sha256:03wzk1cq3sdbichqwdkvmxv8y66pcq7c24rv9cjwkf6crw241gr3',
        narSize: 120,
        references: [],
        deriver: 'ss208ak9ay8yfqvsw7k9hgnq2a6cixkr-lib.drv',
        sigs: 0,
      },
      {
        path: '/nix/store/qp3sypqrri2xj4pn98bf5jcvwc58c4ik-note',
        narHash: 'sha256:1v5400gnc8jznd0w4narm2qbdm6l25srlhpbag9333vj5sazfswz',
        narSize: 120,
        references: [],
        ca: 'text:sha256:18v0v0341vgg7yk4xk1yhjyjls4npi1b4x1dix1j96pi6jh38gpn',
        sigs: 0,
      },
      {
        path: '/nix/store/xf14snl12idswjaqrnhljphn05vjdcyg-app',
        narHash: 'sha256:0yra2knp6rg7cp8zcvjjmycj6x5ayqx87xdhxdbrqb8zd84z949w',
        narSize: 264,
        references: [
          'idm856j26zhybsdclpq7xk9hn0g3z34n-lib',
          'qp3sypqrri2xj4pn98bf5jcvwc58c4ik-note',
          'xf14snl12idswjaqrnhljphn05vjdcyg-app',
        ],
        deriver: 'xvdshs5cv9fm4i41cw09sjmzgl1x0cma-app.drv',
        sigs: 1,
      },
    ]);
    expect(infos[2]?.sigs[0]).toMatch(/^golden-1:[A-Za-z0-9+/]{86}==$/);
  });

  it('has no info where the path is not valid', () => {
    expect(parsePathInfoJson(recorded(`path-info-missing-${version}`), '/nix/store')).toEqual([]);
  });
});

it('sorts references, which Nix leaves in the order of its database', () => {
  const [info] = parsePathInfoJson(
    {
      '/s/00000000000000000000000000000000-a': {
        narHash: `sha256:${'0'.repeat(64)}`,
        narSize: 1,
        references: ['/s/11111111111111111111111111111111-b', '/s/00000000000000000000000000000000-a'],
      },
    },
    '/s',
  );
  expect(info?.references).toEqual(['00000000000000000000000000000000-a', '11111111111111111111111111111111-b']);
});

it('refuses a path of another store', () => {
  const json = [{ path: '/other/00000000000000000000000000000000-a', narHash: 'sha256:', narSize: 1, references: [] }];
  expect(() => parsePathInfoJson(json, '/nix/store')).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
});

test('arbitrary JSON gives infos or a NixcacheError', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      try {
        parsePathInfoJson(json, '/nix/store');
      } catch (error) {
        expect(error).toBeInstanceOf(NixcacheError);
      }
    }),
  );
});

it('drops what is no signature: Nix before 2.34 keeps anything, and later ones refuse the path for it', () => {
  const path = `/nix/store/${'a'.repeat(32)}-x`;
  const good = `k-1:${'A'.repeat(86)}==`;
  const signatures = ['junk', good, 'k-2:', ':AAAA', 'k:not base64', ''];
  const narHash = `sha256:${'0'.repeat(52)}`;
  const infos = parsePathInfoJson([{ path, narHash, narSize: 1, references: [], signatures }], '/nix/store');
  expect(infos[0]?.sigs).toEqual([good]);
});

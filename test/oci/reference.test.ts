import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { formatReference, isTag, parseReference } from '../../src/oci/reference.ts';

describe('a cache reference', () => {
  it.each([
    ['ghcr.io/owner/repo/nix-cache', 'ghcr.io', 'owner/repo/nix-cache'],
    ['GHCR.io/Owner/Repo/nix-cache', 'ghcr.io', 'owner/repo/nix-cache'],
    ['registry.example:5000/team/cache', 'registry.example:5000', 'team/cache'],
    ['localhost/x', 'localhost', 'x'],
    ['localhost:5000/x', 'localhost:5000', 'x'],
    ['127.0.0.1:5000/x', '127.0.0.1:5000', 'x'],
    ['[::1]:5000/x', '[::1]:5000', 'x'],
    ['[2001:DB8::1]/x', '[2001:db8::1]', 'x'],
    ['registry:80/x', 'registry:80', 'x'],
    ['r.example/a__b/c---d/e.f_g', 'r.example', 'a__b/c---d/e.f_g'],
    ['docker.io/alpine', 'registry-1.docker.io', 'library/alpine'],
    ['docker.io/owner/cache', 'registry-1.docker.io', 'owner/cache'],
    ['index.docker.io/owner/cache', 'registry-1.docker.io', 'owner/cache'],
  ])('%s is a repository', (text, host, repository) => {
    expect(parseReference(text)).toEqual({ kind: 'registry', host, repository });
  });

  it.each([
    ['https://GHCR.io/Owner/repo', 'ghcr.io', 'owner/repo', 'https'],
    ['HTTPS://localhost:5000/x', 'localhost:5000', 'x', 'https'],
    ['http://10.0.0.1/x', '10.0.0.1', 'x', 'http'],
  ])('%s may say how to speak with the registry', (text, host, repository, scheme) => {
    expect(parseReference(text)).toEqual({ kind: 'registry', host, repository, scheme });
    expect(formatReference(parseReference(text))).toBe(`${host}/${repository}`);
  });

  it.each([
    ['oci:./cache', './cache'],
    ['oci:/var/cache/Nix', '/var/cache/Nix'],
    ['oci:cache', 'cache'],
    ['oci:~/cache', '~/cache'],
    ['oci:a:b/cache', 'a:b/cache'],
  ])('%s is a layout', (text, path) => {
    expect(parseReference(text)).toEqual({ kind: 'layout', path });
  });

  it.each([
    ['https:ghcr.io/owner/repo', 'write ghcr.io/owner/repo'],
    ['https:///x', 'write /x'],
    ['https://http://x.example/y', 'before a registry and nothing else'],
    ['https://oci:/x', 'before a registry and nothing else'],
    ['https://ghcr.io', 'write ghcr.io/OWNER/REPO/nix-cache'],
    ['docker://ghcr.io/owner/repo', 'write ghcr.io/owner/repo'],
    ['http://', 'write HOST/REPOSITORY'],
    ['docker://', 'write HOST/REPOSITORY'],
    ['oci://', 'write oci:PATH for a directory'],
    ['OCI:x/y', "'OCI:' is not understood; write oci:x/y"],
    ['oci://ghcr.io/owner/repo', 'write oci:ghcr.io/owner/repo for a directory, or ghcr.io/owner/repo for a registry'],
    ['file:///var/cache', 'write oci:/var/cache'],
    ['dir:/var/cache', 'write oci:/var/cache'],
    ['s3://bucket/x', "the scheme 's3:' is not understood"],
    ['ghcr.io:owner/repo', 'write ghcr.io/owner/repo'],
    ['./cache', 'write oci:./cache'],
    ['/var/cache', 'write oci:/var/cache'],
    ['~/cache', 'write oci:~/cache'],
    ['../cache', 'write oci:../cache'],
    ['owner/repo', 'write ghcr.io/owner/repo'],
    ['ghcr.io', 'write ghcr.io/OWNER/REPO/nix-cache'],
    ['ghcr.io/', 'write ghcr.io/OWNER/REPO/nix-cache'],
    ['cache', 'write ghcr.io/OWNER/REPO/nix-cache or oci:PATH'],
    ['', 'is empty'],
    [' ', 'is empty'],
    ['oci:', 'names no directory'],
    ['oci:./cache:latest', 'has no tag; write oci:./cache'],
    ['ghcr.io/o/r:latest', 'has no tag; write ghcr.io/o/r'],
    [`ghcr.io/o/r@sha256:${'0'.repeat(64)}`, 'has no digest; write ghcr.io/o/r'],
    ['ghcr.io/o/r:v1@sha256:00', 'write ghcr.io/o/r'],
    ['ghcr.io/o/r/', 'write ghcr.io/o/r'],
    ['ghcr.io//o', 'write ghcr.io/o'],
    ['ghcr.io/o/r?x', 'is not a repository name'],
    ['ghcr.io/o/-r', 'is not a repository name'],
    ['ghcr.io/o/a___b', 'is not a repository name'],
    ['ghcr.io/o/rép', 'is not a repository name'],
    ['ghcr.io/o/r\n', 'is not a repository name'],
    ['gh_cr.io/o/r', 'is not a host'],
    ['-x.example/o/r', 'is not a host'],
    ['registry.example:0/x', 'is not a host'],
    ['registry.example:70000/x', 'is not a host'],
    ['[::zz]:5000/x', 'is not a host'],
    ['::1/x', 'is not a host'],
    [`r.example/${'a'.repeat(250)}`, 'choose a shorter repository name'],
  ])('%j is refused, with what to do', (text, advice) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
    expect(() => parseReference(text)).toThrow(advice);
  });

  it.each(['user:hunter2@ghcr.io/o/r', 'https://user:hunter2@ghcr.io/o/r', 'hunter2@ghcr.io/o/r', 'x:hunter2@ghcr.io'])(
    'never shows the password in it',
    (text) => {
      expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
      expect(() => parseReference(text)).not.toThrow(/hunter2/);
    },
  );

  it('is written back as users write it', () => {
    expect(formatReference(parseReference('oci:./x'))).toBe('oci:./x');
    expect(formatReference(parseReference('docker.io/Owner/x'))).toBe('docker.io/owner/x');
    expect(formatReference(parseReference('[::1]:5000/x'))).toBe('[::1]:5000/x');
  });
});

test('a tag is what the distribution specification says', () => {
  expect(['latest', '_', 'A-b.c', 'x'.repeat(128)].filter(isTag)).toHaveLength(4);
  expect(['', '-x', '.x', 'a/b', 'a:b', 'a\n', 'x'.repeat(129)].filter(isTag)).toEqual([]);
});

test('a reference is parsed to the same after it was written, or refused as an error of ours', () => {
  const piece = fc.constantFrom(
    'oci:',
    'ghcr.io',
    'a',
    'B',
    '/',
    ':',
    '@',
    '.',
    '5000',
    '-',
    '_',
    '[::1]',
    '~',
    '\0',
    '//',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((pieces) => pieces.join('')),
      ),
      (text) => {
        try {
          const reference = parseReference(text);
          expect(parseReference(formatReference(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toBeInstanceOf(NixcacheError);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

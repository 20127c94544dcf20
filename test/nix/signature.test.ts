import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { parseHash } from '../../src/nix/hash.ts';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import {
  findSigner,
  fingerprint,
  generateKey,
  isSignature,
  parsePublicKey,
  parseSecretKey,
  signPathInfo,
} from '../../src/nix/signature.ts';
import { parseStorePath } from '../../src/nix/store-path.ts';
import { narInfo } from '../support/nix-arbitraries.ts';

// A throw-away key, made by `nix-store --generate-binary-cache-key`; the signature is that of `nix store sign`, Nix 2.8.0.
const SECRET =
  'test.example.org-1:ZnVtVJDpyvfxF2cQhTXZmhpFh3b+1Feogn4g8t34nrLyxYyaAaGoHzpy6d0bfaKzFng8oTYRsTaeHXORbGrO2g==';
const PUBLIC = 'test.example.org-1:8sWMmgGhqB86cundG32isxZ4PKE2EbE2nh1zkWxqzto=';
const SIG =
  'test.example.org-1:pCejB8WG6l40B8Aqkp1v2Fwbvmrl/aNHDr5kcduiyksKaVadj6ULpWu4CffBClz8Amre+1w9DFtFilx/rdXnAw==';
const INFO = {
  path: parseStorePath('/nix/store/5v8xcr5gmsk4dqyi7kmybwhqxi3prplv-dep'),
  narHash: parseHash('sha256:37b0fc83db34f208530f8f757e24ccc0008aee90247d6406cf79b4c507fc668b'),
  narSize: 288,
  references: [],
};

const golden = (name: string): string =>
  readFileSync(new URL(`../golden/narinfo/${name}.narinfo`, import.meta.url), 'utf8');

describe('the fingerprint', () => {
  it('is the one that Nix signs', () => {
    expect(fingerprint(INFO)).toBe(
      '1;/nix/store/5v8xcr5gmsk4dqyi7kmybwhqxi3prplv-dep;sha256:12v6zh3wbd3rrw368z94j3p8l060rhj7wxcg1x9hiwilvf1zrc1p;288;',
    );
  });

  it('names references by full path, sorted, each once, in the store of the path', () => {
    const { references } = parseNarInfo(golden('app-1.0'));
    const path = parseStorePath('/gnu/store/5v8xcr5gmsk4dqyi7kmybwhqxi3prplv-dep', '/gnu/store');
    expect(fingerprint({ ...INFO, path, references: [...references, ...references].reverse() })).toMatch(
      /;288;\/gnu\/store\/9qrd3spjmb1qmv1y03scq00jvhdx549b-app-1\.0,\/gnu\/store\/z4asv3j07d89ywjf8fxkn7sg6mf5s9q5-dep$/,
    );
  });
});

describe('a signature', () => {
  it('is byte for byte that of Nix', () => {
    expect(signPathInfo(INFO, parseSecretKey(SECRET))).toBe(SIG);
  });

  it.each(['app-1.0', 'dep'])('that Nix made of %s is ours as well, and verifies', (name) => {
    const info = parseNarInfo(golden(name));
    expect([signPathInfo(info, parseSecretKey(SECRET))]).toEqual(info.sigs);
    expect(findSigner(info, [parsePublicKey(PUBLIC)])?.name).toBe('test.example.org-1');
  });

  it('is found among others, malformed ones and other keys', () => {
    const other = parsePublicKey(generateKey('other-1').public);
    const sameName = parsePublicKey(generateKey('test.example.org-1').public);
    const sigs = ['junk', 'test.example.org-1:YWJj', SIG];
    expect(findSigner({ ...INFO, sigs }, [other, sameName, parsePublicKey(PUBLIC)])?.text).toBe(PUBLIC);
    expect(findSigner({ ...INFO, sigs }, [other, sameName])).toBeUndefined();
  });

  it.each([
    { path: parseStorePath('/nix/store/5v8xcr5gmsk4dqyi7kmybwhqxi3prplv-dep2') },
    { narSize: 289 },
    { narHash: parseHash('sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad') },
    { references: parseNarInfo(golden('app-1.0')).references },
    { sigs: [SIG.replace('test', 'best')] },
    { sigs: [SIG.replace('pCej', 'pCek')] },
    { sigs: [SIG.replaceAll('/', '_').replaceAll('+', '-')] },
    { sigs: [` ${SIG}`] },
    { sigs: [] },
  ])('does not verify when %o differs', (change) => {
    expect(findSigner({ ...INFO, sigs: [SIG], ...change }, [parsePublicKey(PUBLIC)])).toBeUndefined();
  });

  it.each([SIG, 'name:YWJj', 'name:YWI=', 'name:YWI'])('is well formed: %s', (text) => {
    expect(isSignature(text)).toBe(true);
  });

  it.each(['', 'name', 'name:', ':YWJj', 'name:Y', 'name:YWJj=', 'name:YWJj\n', 'name:YW\nJj', 'name:YW-_'])(
    'is not well formed: %j',
    (text) => {
      expect(isSignature(text)).toBe(false);
    },
  );
});

describe('a key', () => {
  it('is read with the newlines that editors leave', () => {
    expect(parsePublicKey(`${PUBLIC}\n`).text).toBe(PUBLIC);
    expect(parseSecretKey(`${SECRET.slice(0, 60)}\n${SECRET.slice(60)}\n`).publicKey.text).toBe(PUBLIC);
  });

  it('that is generated signs and verifies, and never twice the same', () => {
    const made = generateKey('cache.example.org-1');
    expect(parseSecretKey(made.secret).publicKey.text).toBe(made.public);
    expect(Buffer.from(made.secret.split(':')[1] ?? '', 'base64')).toHaveLength(64);
    const sigs = [signPathInfo(INFO, parseSecretKey(made.secret))];
    expect(findSigner({ ...INFO, sigs }, [parsePublicKey(made.public)])?.text).toBe(made.public);
    expect(generateKey('cache.example.org-1').secret).not.toBe(made.secret);
  });

  it.each(['', 'a b', 'a:b', 'a\n'])('cannot be named %j', (name) => {
    expect(() => generateKey(name)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  });

  it.each(['', 'name', ':AAAA', 'name:', 'name:AAAA', SECRET, `${PUBLIC}AAAA`, PUBLIC.replace('8', '!')])(
    'that is public is not %j',
    (text) => {
      expect(() => parsePublicKey(text)).toThrow(expect.objectContaining({ code: 'ERR_KEY' }));
    },
  );

  it('that is secret is not a public key', () => {
    expect(() => parseSecretKey(PUBLIC)).toThrow(/the secret key is not 64 bytes of base64; is it a secret key\?/);
  });

  it('that is secret has two halves that belong together', () => {
    const [, other = ''] = generateKey('x').secret.split(':');
    const halves = Buffer.concat([
      Buffer.from(SECRET.split(':')[1] ?? '', 'base64').subarray(0, 32),
      Buffer.from(other, 'base64').subarray(32),
    ]);
    expect(() => parseSecretKey(`x:${halves.toString('base64')}`)).toThrow(/its two halves do not belong together/);
  });

  it('that is secret is never quoted, not even where it stands for the name', () => {
    const [name = '', secret = ''] = SECRET.split(':');
    for (const text of [secret, `${secret}:${name}`, `${name}:${secret.slice(4)}`, `${name} ${secret}`]) {
      try {
        parseSecretKey(text);
        expect.unreachable();
      } catch (error) {
        expect(isNixcacheError(error, 'ERR_KEY')).toBe(true);
        expect(String(error)).not.toContain(secret.slice(8, 20));
      }
    }
  });
});

test('every signature verifies with its key and with no other', () => {
  const secret = parseSecretKey(SECRET);
  const other = parsePublicKey(generateKey('test.example.org-1').public);
  fc.assert(
    fc.property(narInfo(), (info) => {
      const sigs = [signPathInfo(info, secret)];
      expect(findSigner({ ...info, sigs }, [other, secret.publicKey])).toBe(secret.publicKey);
      expect(findSigner({ ...info, sigs }, [other])).toBeUndefined();
    }),
    { numRuns: 30 },
  );
});

test('arbitrary signatures are passed over, never thrown at', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.base64String().map((rest) => `test.example.org-1:${rest}`),
        ),
      ),
      (sigs) => {
        expect(findSigner({ ...INFO, sigs }, [parsePublicKey(PUBLIC)])).toBeUndefined();
      },
    ),
  );
});

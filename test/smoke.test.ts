import { expect, test } from 'vitest';
import { parseHash } from '../src/nix/hash.ts';
import { findSigner, parseSecretKey, signPathInfo } from '../src/nix/signature.ts';
import { parseStorePath } from '../src/nix/store-path.ts';

test('vector', () => {
  const k = parseSecretKey(
    'test.example.org-1:ZnVtVJDpyvfxF2cQhTXZmhpFh3b+1Feogn4g8t34nrLyxYyaAaGoHzpy6d0bfaKzFng8oTYRsTaeHXORbGrO2g==',
  );
  const info = {
    path: parseStorePath('/nix/store/5v8xcr5gmsk4dqyi7kmybwhqxi3prplv-dep'),
    narHash: parseHash('sha256:37b0fc83db34f208530f8f757e24ccc0008aee90247d6406cf79b4c507fc668b'),
    narSize: 288,
    references: [],
  };
  expect(signPathInfo(info, k)).toBe(
    'test.example.org-1:pCejB8WG6l40B8Aqkp1v2Fwbvmrl/aNHDr5kcduiyksKaVadj6ULpWu4CffBClz8Amre+1w9DFtFilx/rdXnAw==',
  );
  expect(findSigner({ ...info, sigs: [signPathInfo(info, k)] }, [k.publicKey])?.name).toBe('test.example.org-1');
});

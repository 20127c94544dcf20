import { expect, it } from 'vitest';
import {
  buildTraceFingerprint,
  formatBuildTraceEntry,
  isBuildTraceSigned,
  parseBuildTraceEntry,
  parseBuildTraceKey,
} from '../../src/nix/build-trace.ts';
import { generateKey, parseSecretKey, signText } from '../../src/nix/signature.ts';
import type { BaseName } from '../../src/nix/store-path.ts';

const HASH = 'g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q';
const KEY = { drvPath: `${HASH}-bar.drv` as BaseName, outputName: 'foo' };

it('is signed over what Nix signs', () => {
  // NixOS/nix src/libstore-tests/data/realisation/with-signature-fingerprint.txt has this text.
  const entry = parseBuildTraceEntry(`{"outPath":"${HASH}-foo.drv"}`, KEY);
  expect(buildTraceFingerprint(entry)).toBe(
    `{"key":{"drvPath":"${HASH}-bar.drv","outputName":"foo"},"value":{"outPath":"${HASH}-foo.drv"}}`,
  );
  const key = parseSecretKey(generateKey('a-1').secret);
  const signed = { ...entry, signatures: [signText(buildTraceFingerprint(entry), key)] };
  expect(isBuildTraceSigned(signed, [key.publicKey])).toBe(true);
  expect(isBuildTraceSigned({ ...signed, outputName: 'out' }, [key.publicKey])).toBe(false);
});

it('is read with signatures of both forms, and written with those of Nix 2.35', () => {
  const json = `{"outPath":"${HASH}-foo","signatures":["a:AA==",{"keyName":"b","sig":"BB=="}],"dependentRealisations":{}}`;
  const entry = parseBuildTraceEntry(json, KEY);
  expect(entry.signatures).toEqual(['a:AA==', 'b:BB==']);
  expect(formatBuildTraceEntry(entry)).toBe(
    `{"outPath":"${HASH}-foo","signatures":[{"keyName":"a","sig":"AA=="},{"keyName":"b","sig":"BB=="}]}`,
  );
});

it.each([
  '',
  '[]',
  '{}',
  '{"outPath":"x"}',
  `{"outPath":"/nix/store/${HASH}-foo"}`,
  `{"outPath":"${HASH}-a","signatures":[1]}`,
])('is not read from %s', (json) => {
  expect(() => parseBuildTraceEntry(json, KEY)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
});

it.each([
  '',
  `${HASH}-bar/out`,
  `${HASH}-bar.drv`,
  `${HASH}-bar.drv/`,
  `${HASH}-bar.drv/a/b`,
  `x-bar.drv/out`,
  `${HASH}-bar.drv/ü`,
])('has no key %s', (text) => {
  expect(parseBuildTraceKey(text)).toBeUndefined();
});

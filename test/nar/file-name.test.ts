import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { fileNameFromLatin1 } from '../../src/nar/file-name.ts';
import { fileNameToBytes } from '../support/nar.ts';

const fromBytes = (bytes: Buffer): string => fileNameFromLatin1(bytes.toString('latin1'));

it.each([
  ['61', 'a'],
  ['c3a9', 'é'],
  ['f0908080', '\u{10000}'],
  ['efbfbd', '\ufffd'],
  ['fffe', '\udcff\udcfe'],
  ['636166e9', 'caf\udce9'],
  ['c3a9ff', 'é\udcff'],
  ['efbfbdff', '\ufffd\udcff'],
  ['c080', '\udcc0\udc80'], //          overlong
  ['eda080', '\udced\udca0\udc80'], //  a surrogate, which UTF-8 does not have
  ['f4908080', '\udcf4\udc90\udc80\udc80'], // past U+10FFFF
  ['e282', '\udce2\udc82'], //          cut off
  ['', ''],
])('the bytes %s read as %j, and back', (hex, text) => {
  const bytes = Buffer.from(hex, 'hex');
  expect(fromBytes(bytes)).toBe(text);
  expect(fileNameToBytes(text).toString('hex')).toBe(hex);
});

test('no bytes are lost, and well-formed text is itself', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.string({ unit: 'binary' }), (raw, text) => {
      const bytes = Buffer.from(raw);
      expect(fileNameToBytes(fromBytes(bytes))).toEqual(bytes);
      expect(fromBytes(Buffer.from(text))).toBe(text);
    }),
    { numRuns: 1000 },
  );
});

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import {
  clientText,
  type Entry,
  fileHashOf,
  formatEntry,
  narUrl,
  parseEntry,
  wholeBlob,
} from '../../src/cache-index/entry.ts';
import { formatExtents, parseExtents } from '../../src/cache-index/extent.ts';
import { isNixcacheError } from '../../src/errors.ts';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import { type BaseName, parseStorePath } from '../../src/nix/store-path.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { entry, extent } from '../support/cache-arbitraries.ts';

const nar = digestOf(Buffer.from('nar'));
const pack = digestOf(Buffer.from('pack'));
const own: Entry = {
  narInfo: {
    path: parseStorePath('/nix/store/00000000000000000000000000000001-a'),
    url: narUrl(fileHashOf(nar), 'zstd'),
    compression: 'zstd',
    fileHash: fileHashOf(nar),
    fileSize: 3,
    narHash: fileHashOf(nar),
    narSize: 120,
    references: [],
    sigs: [],
  },
  nar: [wholeBlob(nar, 3)],
};
const OWN_TEXT = `StorePath: /nix/store/00000000000000000000000000000001-a
URL: nar/${own.narInfo.fileHash.slice(7)}.nar.zst
Compression: zstd
FileHash: ${own.narInfo.fileHash}
FileSize: 3
NarHash: ${own.narInfo.narHash}
NarSize: 120
References: 
`;

it('writes a NAR that is a blob of its own as a plain narinfo', () => {
  expect(formatEntry(own)).toBe(OWN_TEXT);
});

describe('realisations of an entry', () => {
  const realisation = {
    id: `sha256:${'ab'.repeat(32)}!out`,
    outPath: '00000000000000000000000000000001-a' as BaseName,
    dependentRealisations: {},
    signatures: ['key:AAAA'],
  };
  const line = `NixcacheRealisations: [{"dependentRealisations":{},"id":"${realisation.id}","outPath":"${realisation.outPath}","signatures":["key:AAAA"]}]\n`;

  it('are a line that clients do not get', () => {
    const text = formatEntry({ ...own, realisations: [realisation] });
    expect(text).toBe(`${OWN_TEXT}${line}`);
    expect(parseEntry(text, '/nix/store').realisations).toEqual([realisation]);
    expect(clientText(text)).toBe(OWN_TEXT);
  });

  it.each([
    ['malformed', line.replace('"id"', '"ID"')],
    ['no JSON', 'NixcacheRealisations: [{\n'],
    ['of another path', line.replace('"outPath":"0', '"outPath":"1')],
  ])('are ignored when they are %s', (_, bad) => {
    expect(parseEntry(`${OWN_TEXT}${bad}`, '/nix/store')).toEqual(own);
  });
});

it('says where other bytes lie, and when the entry was asserted, in fields of its own', () => {
  const packed: Entry = {
    ...own,
    nar: [{ digest: pack, offset: 5, length: 3 }],
    listing: { digest: nar, extents: [{ digest: pack, offset: 8, length: 9 }] },
    asserted: 1_700_000_000,
  };
  expect(formatEntry(packed)).toBe(
    `${OWN_TEXT}NixcacheNar: ${pack}@5+3\nNixcacheListing: ${nar} ${pack}@8+9\nNixcacheAsserted: 1700000000\n`,
  );
  expect(clientText(formatEntry(packed))).toBe(OWN_TEXT);
});

it('says which references were left out, and takes nothing else for that', () => {
  const [lib, other] = [1, 2].map((n) => `0000000000000000000000000000000${n}-lib` as BaseName);
  const info = { ...own.narInfo, references: [lib, other].filter((name) => name !== undefined) };
  const text = formatEntry({ ...own, narInfo: info, leftOut: info.references.slice(0, 1) });
  expect(text).toContain(`NixcacheLeftOut: ${lib}\n`);
  expect(clientText(text)).not.toContain('Nixcache');
  expect(parseEntry(text.replace('LeftOut:', 'LeftOut: ../x '), '/nix/store').leftOut).toEqual([lib]);
});

describe('refuses', () => {
  it.each([
    ['an assertion time that would read as long ago', 'NixcacheAsserted: soon'],
    ['an empty assertion time', 'NixcacheAsserted: '],
    ['extents that are longer than the file', `NixcacheNar: ${pack}@0+4`],
    ['extents that are none', 'NixcacheNar: somewhere'],
    ['a listing without extents', `NixcacheListing: ${pack}`],
    ['a listing without a digest', `NixcacheListing: x ${pack}@0+4`],
  ])('%s', (_, line) => {
    expect(() => parseEntry(`${OWN_TEXT}${line}\n`, '/nix/store')).toThrow(
      expect.objectContaining({ code: 'ERR_FORMAT' }),
    );
  });

  it('a narinfo without its file hash', () => {
    const text = OWN_TEXT.replace(/^FileHash.*\n/m, '');
    expect(() => parseEntry(text, '/nix/store')).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

describe('digests of pieces', () => {
  const OF_3 = Buffer.alloc(3 * 16, 7);
  const sized = (fileSize: number): string => OWN_TEXT.replace(/^FileSize: .*$/m, `FileSize: ${fileSize}`);
  const line = (pieceBytes: number, digests: Buffer): string =>
    `NixcachePieces: ${pieceBytes} ${digests.toString('base64')}\n`;
  const MIB = 1024 * 1024;

  it('are kept, and not given to clients', () => {
    const text = sized(2 * MIB + 1) + line(MIB, OF_3);
    const parsed = parseEntry(text, '/nix/store');
    expect(parsed.pieces).toEqual({ pieceBytes: MIB, digests: OF_3 });
    expect(formatEntry(parsed)).toBe(text);
    expect(clientText(text)).toBe(sized(2 * MIB + 1));
  });

  it.each([
    ['too few for the file', sized(3 * MIB + 1) + line(MIB, OF_3)],
    ['too many', sized(2 * MIB) + line(MIB, OF_3)],
    ['of tiny pieces', sized(3) + line(1, OF_3)],
    ['of pieces that no reader can hold', sized(2 * MIB) + line(1024 * MIB, OF_3.subarray(0, 16))],
    ['that are none', `${sized(3 * MIB)}NixcachePieces: all right\n`],
  ])('are as good as none when they are %s', (_, text) => {
    expect(parseEntry(text, '/nix/store').pieces).toBeUndefined();
  });
});

test('parsing undoes formatting', () => {
  fc.assert(
    fc.property(entry(), (one) => {
      expect(parseEntry(formatEntry(one), '/nix/store')).toEqual(one);
    }),
  );
});

test('clients get the narinfo and nothing of ours', () => {
  fc.assert(
    fc.property(entry(), (one) => {
      const { extra, ...info } = parseNarInfo(clientText(formatEntry(one)));
      expect(extra).toBeUndefined();
      expect(info).toEqual(one.narInfo);
    }),
  );
});

test('a mangled entry never throws anything but ERR_FORMAT', () => {
  fc.assert(
    fc.property(entry(), fc.nat(), fc.nat(), fc.string(), (one, at, length, text) => {
      const whole = formatEntry(one);
      const start = at % whole.length;
      try {
        parseEntry(whole.slice(0, start) + text + whole.slice(start + (length % 20)), '/nix/store');
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
      }
    }),
  );
});

test('parsing extents undoes formatting them', () => {
  fc.assert(
    fc.property(fc.array(extent(), { minLength: 1 }), (extents) => {
      expect(parseExtents(formatExtents(extents))).toEqual(extents);
    }),
  );
});

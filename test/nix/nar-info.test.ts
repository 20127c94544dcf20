import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { isNixcacheError } from '../../src/errors.ts';
import { formatNarInfo, parseNarInfo, sortReferences } from '../../src/nix/nar-info.ts';
import { parseBaseName } from '../../src/nix/store-path.ts';
import { narInfo } from '../support/nix-arbitraries.ts';

const golden = (name: string): string =>
  readFileSync(new URL(`../golden/narinfo/${name}.narinfo`, import.meta.url), 'utf8');

const HASH = 'sha256:12v6zh3wbd3rrw368z94j3p8l060rhj7wxcg1x9hiwilvf1zrc1p';
const A = 'an42p608y1md50nm82skca4xj5s8i1d7-a';
const Z = 'zn42p608y1md50nm82skca4xj5s8i1d7-z';
const SIG =
  'test.example.org-1:pCejB8WG6l40B8Aqkp1v2Fwbvmrl/aNHDr5kcduiyksKaVadj6ULpWu4CffBClz8Amre+1w9DFtFilx/rdXnAw==';

/** The least that Nix takes, with some lines replaced (or left out, by undefined), and some added. */
function text(changes: Readonly<Record<string, string | undefined>> = {}, added = ''): string {
  const lines: Record<string, string | undefined> = {
    StorePath: '/nix/store/fn42p608y1md50nm82skca4xj5s8i1d7-t',
    URL: 'nar/x.nar',
    Compression: 'none',
    NarHash: HASH,
    NarSize: '288',
    ...changes,
  };
  const written = Object.entries(lines).flatMap(([key, value]) => (value === undefined ? [] : [`${key}: ${value}\n`]));
  return written.join('') + added;
}

describe('a narinfo made by Nix', () => {
  it.each(['app-1.0', 'dep', 'content-addressed'])('%s comes back as the same bytes', (name) => {
    expect(formatNarInfo(parseNarInfo(golden(name)))).toBe(golden(name));
  });

  it('is read field by field', () => {
    expect(parseNarInfo(golden('app-1.0'))).toEqual({
      path: '/nix/store/9qrd3spjmb1qmv1y03scq00jvhdx549b-app-1.0',
      url: 'nar/0wgl8hh87rjls43zcapzgh4r98gci3im8yy5wbr2hwgrn7g97v0c.nar.xz',
      compression: 'xz',
      fileHash: 'sha256:0wgl8hh87rjls43zcapzgh4r98gci3im8yy5wbr2hwgrn7g97v0c',
      fileSize: 212,
      narHash: 'sha256:1lqv6zlsr46gncszx2waxqxldxlhq8a2l6m2aqsvlzgkcfk6ylbl',
      narSize: 216,
      references: ['9qrd3spjmb1qmv1y03scq00jvhdx549b-app-1.0', 'z4asv3j07d89ywjf8fxkn7sg6mf5s9q5-dep'],
      deriver: 'kybsv882v9z03zcz3fzjfdx8d4w2c7qd-app-1.0.drv',
      sigs: [
        'test.example.org-1:K3f+Wb9vNgx8G9OGNKTYDX4IXmnuU9xODQpn0SguAgWH4n01p8eKnBMVyfCHThaOhLecAIoDyDbAN/r/Dbl2Dw==',
      ],
    });
  });
});

// The same table is held against the Nix that is installed in test/integration/nix-formats.test.ts.
describe('as Nix does, parseNarInfo accepts', () => {
  const least = {
    path: '/nix/store/fn42p608y1md50nm82skca4xj5s8i1d7-t',
    url: 'nar/x.nar',
    narHash: HASH,
    narSize: 288,
  };

  it.each([
    ['the least there can be', text(), {}],
    ['any order', text().trimEnd().split('\n').reverse().join('\n').concat('\n'), {}],
    [
      'unknown fields, which it keeps apart',
      text({}, 'System: x\nFoo: \n'),
      {
        extra: new Map([
          ['System', 'x'],
          ['Foo', ''],
        ]),
      },
    ],
    [
      'a NarHash in hexadecimal',
      text({ NarHash: 'sha256:37b0fc83db34f208530f8f757e24ccc0008aee90247d6406cf79b4c507fc668b' }),
      {},
    ],
    ['a NarHash in SRI form', text({ NarHash: 'sha256-N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=' }), {}],
    ['no Compression, which means bzip2', text({ Compression: undefined }), { compression: 'bzip2' }],
    ['an empty Compression, too', text({ Compression: '' }), { compression: 'bzip2' }],
    ['unsorted and repeated references', text({ References: `${Z} ${A}  ${A}` }), { references: [A, Z] }],
    [
      'a second line of references after an empty one',
      text({ References: '' }, `References: ${A}\n`),
      { references: [A] },
    ],
    ['an unknown deriver', text({ Deriver: 'unknown-deriver' }), {}],
    ['a repeated StorePath, the last of which counts', `StorePath: /nix/store/${A}\n${text()}`, {}],
    ['an empty CA', text({ CA: '' }), {}],
    [
      'a CA in another form',
      text({ CA: 'fixed:sha1:a9993e364706816aba3e25717850c26c9cd0d89d' }),
      { ca: 'fixed:sha1:kpcd173cq987hw957sx6m0868wv3x6d9' },
    ],
    ['leading zeros', text({ NarSize: '000288' }), {}],
    ['any one byte in place of the space', text().replaceAll(': ', ':\t'), {}],
    ['an absolute http URL', text({ URL: 'https://cdn.example.org/x.nar' }), { url: 'https://cdn.example.org/x.nar' }],
    ['a colon further inside the URL', text({ URL: 'nar/sha256:x.nar' }), { url: 'nar/sha256:x.nar' }],
    ['a FileSize of 0', text({ FileSize: '0' }), { fileSize: 0 }],
    ['the same signature twice', text({}, `Sig: ${SIG}\nSig: ${SIG}\n`), { sigs: [SIG] }],
  ])('%s', (_what, input, expected) => {
    expect(parseNarInfo(input)).toEqual({ ...least, compression: 'none', references: [], sigs: [], ...expected });
  });
});

describe('as Nix does, parseNarInfo refuses', () => {
  it.each([
    ['no text at all', '', /StorePath is missing/],
    ['no final newline', text().trimEnd(), /line 5: it has no final newline/],
    ['a blank line at the end', `${text()}\n`, /line 6: it has no colon/],
    ['a blank line inside', `\n${text()}`, /line 1: it has no colon/],
    ['a line without a colon', text({}, 'junk\n'), /line 6/],
    ['carriage returns', text().replaceAll('\n', '\r\n'), /StorePath/],
    ['a colon at the end of its line', text({}, 'CA:\n'), /line 6: nothing follows its colon/],
    ['no StorePath', text({ StorePath: undefined }), /StorePath is missing/],
    ['no URL', text({ URL: undefined }), /URL is missing/],
    ['an empty URL', text({ URL: '' }), /URL/],
    ['no NarHash', text({ NarHash: undefined }), /NarHash is missing/],
    ['no NarSize', text({ NarSize: undefined }), /NarSize is missing/],
    ['a NarSize of 0', text({ NarSize: '0' }), /NarSize/],
    ['a negative FileSize', text({ FileSize: '-1' }), /FileSize/],
    ['a FileSize that is no number', text({ FileSize: 'x' }), /FileSize/],
    ['a blank before a size', text({ NarSize: ' 288' }), /NarSize/],
    ['a NarHash without its algorithm', text({ NarHash: HASH.slice(7) }), /NarHash/],
    ['a NarHash with bits past its end', text({ NarHash: HASH.replace(':1', ':z') }), /NarHash/],
    ['a store path elsewhere', text({ StorePath: `/gnu/store/${A}` }), /StorePath/],
    ['absolute references', text({ References: `/nix/store/${A}` }), /References/],
    ['references twice', text({ References: A }, `References: ${Z}\n`), /line 7: References: it stands twice/],
    ['an absolute deriver', text({ Deriver: `/nix/store/${A}` }), /Deriver/],
    ['an empty deriver', text({ Deriver: '' }), /Deriver/],
    ['a malformed CA', text({ CA: 'junk' }), /CA/],
    ['a text CA that is no sha256', text({ CA: 'text:sha1:a9993e364706816aba3e25717850c26c9cd0d89d' }), /CA/],
    ['a CA in SRI form', text({ CA: 'fixed:r:sha256-N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=' }), /CA/],
    ['two CAs', text({ CA: `fixed:r:${HASH}` }, `CA: fixed:r:${HASH}\n`), /CA: it stands twice/],
    ['an unknown compression', text({ Compression: 'foo' }), /Compression/],
    ['a blank in the URL', text({ URL: 'nar/x y.nar' }), /URL/],
  ])('%s', (_what, input, message) => {
    expect(() => parseNarInfo(input)).toThrow(
      expect.objectContaining({ code: 'ERR_FORMAT', message: expect.stringMatching(message) }),
    );
  });
});

describe('unlike some Nix, parseNarInfo refuses', () => {
  it.each([
    ['a URL on the disk of the client', text({ URL: 'file:///etc/passwd' })],
    ['a URL that newer Nix takes for a scheme and aborts on', text({ URL: 'sha256:x.nar' })],
    ['a control character in the URL', text({ URL: 'nar/\u001b[2J.nar' })],
    ['a NarHash that is no sha256', text({ NarHash: 'md5:900150983cd24fb0d6963f7d28e17f72' })],
    ['a FileHash that is no sha256', text({ FileHash: 'md5:900150983cd24fb0d6963f7d28e17f72' })],
    ['a size that a number cannot hold', text({ NarSize: '18446744073709551615' })],
  ])('%s', (_what, input) => {
    expect(() => parseNarInfo(input)).toThrow(expect.objectContaining({ code: 'ERR_FORMAT' }));
  });
});

describe('a malformed Sig, which Nix since 2.34 refuses and older ones pass over,', () => {
  it.each(['junk', '', ':', 'name:', ':YWJj', 'name:a', 'name:not base64!', 'name:YWJ=j'])('is dropped: %j', (sig) => {
    const info = parseNarInfo(text({}, `Sig: ${sig}\nSig: ${SIG}\n`));
    expect(info.sigs).toEqual([SIG]);
    expect(formatNarInfo(info)).not.toContain(`Sig: ${sig}\n`);
  });

  it.each(['name:YWJj', 'name:YWI=', 'name:YWI', 'a name:YWJj'])('is not any that decodes: %j', (sig) => {
    expect(parseNarInfo(text({}, `Sig: ${sig}\n`)).sigs).toEqual([sig]);
  });
});

it('reads a narinfo with very many references', () => {
  const references = Array.from({ length: 20_000 }, (_, at) => parseBaseName(`${A}-${String(at).padStart(5, '0')}`));
  expect(parseNarInfo(text({ References: references.join(' ') })).references).toEqual(references);
});

it.each([[`${A} ${A} ${Z}`], [`${A} ${Z} ${Z}`], [`${Z} ${A} ${Z}`]])(
  'names each reference once, as signatures do: %s',
  (references) => {
    expect(parseNarInfo(text({ References: references })).references).toEqual([A, Z]);
  },
);

it('sorts references by bytes and names each once', () => {
  const [a, z] = [parseBaseName(A), parseBaseName(Z)];
  expect(sortReferences([z, a, z])).toEqual([a, z]);
});

it('leaves fields of our own out unless told', () => {
  const info = parseNarInfo(text({}, 'X-Pack: 1\n'));
  expect(formatNarInfo(info)).not.toContain('X-Pack');
  expect(formatNarInfo(info, { withExtra: true })).toContain('\nX-Pack: 1\n');
});

test('parseNarInfo reads back whatever formatNarInfo writes', () => {
  fc.assert(
    fc.property(narInfo(), (info) => {
      expect(parseNarInfo(formatNarInfo(info, { withExtra: true }))).toEqual(info);
    }),
  );
});

test('parseNarInfo throws nothing but ERR_FORMAT, and what it takes is canonical once written', () => {
  const key = fc.constantFrom(
    'StorePath',
    'URL',
    'Compression',
    'FileHash',
    'FileSize',
    'NarHash',
    'NarSize',
    'References',
    'Deriver',
    'Sig',
    'CA',
    '__proto__',
    '',
  );
  const value = fc.oneof(fc.string(), fc.constantFrom(A, Z, HASH, SIG, `/nix/store/${A}`, '1', 'xz', `fixed:${HASH}`));
  const line = fc.tuple(key, value).map(([name, content]) => `${name}: ${content}\n`);
  const lines = fc.array(line, { maxLength: 6 }).map((all) => all.join(''));
  const input = fc.oneof(
    fc.string(),
    lines,
    lines.map((added) => text({}, added)),
  );
  fc.assert(
    fc.property(input, (anything) => {
      try {
        const written = formatNarInfo(parseNarInfo(anything), { withExtra: true });
        expect(formatNarInfo(parseNarInfo(written), { withExtra: true })).toBe(written);
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_FORMAT')) throw error;
        expect(error.message).not.toMatch(/\n/);
      }
    }),
    { numRuns: 500 },
  );
});

it('a signature counts with a carriage return behind it, as in Nix', () => {
  const text = golden('app-1.0');
  const { sigs } = parseNarInfo(text);
  expect(sigs).toHaveLength(1);
  expect(parseNarInfo(text.replace(/^(Sig: .*)$/gm, '$1\r')).sigs).toEqual(sigs);
});

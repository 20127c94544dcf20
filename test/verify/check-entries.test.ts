import { describe, expect, it } from 'vitest';
import { NAR } from '../../src/cache-index/media-types.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { checkEntries } from '../../src/verify/check-entries.ts';
import { Findings } from '../../src/verify/finding.ts';
import type { ScannedSegment } from '../../src/verify/scanned-segment.ts';
import { entryOf, rowOf, type SegmentSpec, scanned } from './scanned.ts';

const [ours, theirs] = ['ours-1', 'theirs-1'].map((name) => parseSecretKey(generateKey(name).secret));
if (!ours || !theirs) throw new Error('no keys');

function check(segments: readonly ScannedSegment[], keys = [ours?.publicKey ?? never()]) {
  const findings = new Findings();
  const { unsigned } = checkEntries(segments, { findings, keys, areTrusted: false });
  return {
    unsigned: [...unsigned].map((path) => path.slice(44)),
    kinds: findings.list.map(({ kind }) => kind),
    findings,
  };
}

function one(spec: Partial<SegmentSpec>, keys: Parameters<typeof check>[1] = []) {
  const segment = scanned({ entries: [{ name: 'a' }], ...spec });
  const { kinds, findings } = check([segment], keys);
  return { fault: segment.faults.get(0), kinds: kinds.filter((kind) => kind !== 'unsigned-cache'), findings };
}

const pack = { mediaType: NAR, digest: entryOf({ name: 'pack' }).nar[0]?.digest ?? never(), size: 1000 };

describe('an entry by itself', () => {
  it('that is as publishers write them has no fault', () => {
    expect(one({})).toMatchObject({ fault: undefined, kinds: [] });
  });

  it.each([
    ['a URL that does not follow from its hash', (text: string) => text.replace(/^URL: .*/m, 'URL: nar/x.nar.zst')],
    ['fields in another order', (text: string) => text.replace(/^(NarHash: .*)\n(NarSize: .*)$/m, '$2\n$1')],
  ])('with %s is to be written anew', (_what, editText) => {
    expect(one({ editText })).toMatchObject({ fault: { text: true }, kinds: ['entry-malformed'] });
  });

  it('with an empty extent is to be written anew', () => {
    const edit = (entry: ReturnType<typeof entryOf>) => ({
      ...entry,
      nar: [...entry.nar, { digest: pack.digest, offset: 3, length: 0 }],
    });
    const { fault, findings } = one({ entries: [{ name: 'a', edit }] });
    expect(fault).toMatchObject({ text: true });
    expect(findings.list.map(({ message }) => message)).toContainEqual(expect.stringContaining('extents is empty'));
  });

  it('whose bytes its manifest does not name may lose them', () => {
    expect(one({ layers: [] })).toMatchObject({ fault: { text: true }, kinds: ['blob-unreachable'] });
  });

  it('of a segment without a manifest is not blamed for that', () => {
    const segment = scanned({ entries: [{ name: 'a' }] });
    Object.assign(segment.parts, { layers: [] });
    expect(check([segment], []).kinds).toEqual(['unsigned-cache']);
    expect(segment.faults.size).toBe(0);
  });

  it.each([
    ['NAR', 'nar', { nar: 'corrupt' }],
    ['listing', 'listing', { listing: true }],
  ] as const)('whose %s goes beyond the end of its blob has lost that', (_what, which, expected) => {
    const extents = [{ digest: pack.digest, offset: 901, length: 100 }];
    const { fault, kinds } = one({
      entries: [
        {
          name: 'a',
          edit: (entry) =>
            which === 'nar' ? { ...entry, nar: extents } : { ...entry, listing: { digest: pack.digest, extents } },
        },
      ],
      layers: [pack, { mediaType: NAR, digest: entryOf({ name: 'a' }).nar[0]?.digest ?? never(), size: 100 }],
    });
    expect(fault).toEqual(expected);
    expect(kinds).toEqual(['entry-damaged']);
  });

  it('that ends where its blob ends has no fault', () => {
    const nar = [{ digest: pack.digest, offset: 900, length: 100 }];
    expect(one({ entries: [{ name: 'a', edit: (entry) => ({ ...entry, nar }) }], layers: [pack] }).kinds).toEqual([]);
  });
});

describe('signatures', () => {
  it('are missed in a cache with keys, path by path, and it is told who signed instead', () => {
    const segment = scanned({
      entries: [{ name: 'good', keys: [ours] }, { name: 'bare' }, { name: 'foreign', keys: [theirs] }],
    });
    const { unsigned, findings } = check([segment]);
    expect(unsigned.sort()).toEqual(['bare', 'foreign']);
    const messages = findings.list.map(({ message }) => message.slice(44)).sort();
    expect(messages).toEqual(['bare: nobody signed it', 'foreign: only others signed it: theirs-1']);
    expect(segment.faults.size).toBe(0);
  });

  it('of the newest form count', () => {
    const old = scanned({ entries: [{ name: 'a' }, { name: 'b', keys: [ours] }] });
    const fresh = scanned({ entries: [{ name: 'a', keys: [ours] }, { name: 'b' }] });
    expect(check([old, fresh]).unsigned).toEqual(['b']);
  });

  it('over something else are none', () => {
    const edit = (entry: ReturnType<typeof entryOf>) => ({ ...entry, narInfo: { ...entry.narInfo, narSize: 201 } });
    const { unsigned, findings } = check([scanned({ entries: [{ name: 'a', keys: [ours], edit }] })]);
    expect(unsigned).toEqual(['a']);
    expect(findings.list).toMatchObject([{ kind: 'signature-wrong', severity: 'damage' }]);
  });

  it('cannot be missed in a cache without keys, which is told of once', () => {
    const segment = scanned({ entries: [{ name: 'a' }, { name: 'b' }, { name: 'c', keys: [theirs] }] });
    const again = scanned({ entries: [{ name: 'a' }] });
    const { unsigned, findings } = check([segment, again], []);
    expect(unsigned).toEqual([]);
    expect(findings.list).toMatchObject([{ kind: 'unsigned-cache', message: expect.stringMatching(/^2 entries/) }]);
  });
});

it('every fault of an entry is noted at its row', () => {
  const segment = scanned({ entries: ['a', 'b', 'c'].map((name) => ({ name })), layers: [] });
  check([segment], []);
  expect([...segment.faults.keys()].sort()).toEqual(['a', 'b', 'c'].map((name) => rowOf(segment, name)).sort());
});

function never(): never {
  throw new Error('there is none');
}

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { hashPartOf } from '../../src/nix/store-path.ts';
import { dependentsOf, entryAt, formsOf, lostForms } from '../../src/verify/needs.ts';
import { baseNameFor, hashPartFor } from '../support/cache-builder.ts';
import { inspectionOf, rowOf, scanned } from './scanned.ts';

describe('the forms of a path', () => {
  const old = scanned({ time: 10, entries: [{ name: 'a', asserted: 30 }, { name: 'b' }] });
  const mid = scanned({ time: 20, entries: [{ name: 'a' }, { name: 'b' }] });
  const fresh = scanned({ time: 25, entries: [{ name: 'a' }] });
  mid.blame(rowOf(mid, 'b'), { nar: 'lost' });
  fresh.blame(rowOf(fresh, 'a'), { nar: 'corrupt' });
  const inspection = inspectionOf([old, mid, fresh]);

  it('are the newest, the newest that is good, and when any was asserted', () => {
    const forms = formsOf(inspection, [fresh]);
    expect([...forms.keys()]).toEqual([hashPartFor('a')]);
    expect(forms.get(hashPartFor('a'))).toEqual({
      newest: { segment: fresh, row: 0 },
      good: { segment: mid, row: rowOf(mid, 'a') },
      asserted: 30,
    });
    const b = formsOf(inspection, [mid]).get(hashPartFor('b'));
    expect([b?.newest.segment, b?.good?.segment, b?.asserted]).toEqual([mid, old, 20]);
    expect(b && entryAt(b.newest).narInfo.path).toContain('-b');
  });

  it('are lost where none is good', () => {
    expect(lostForms(inspection).size).toBe(0);
    old.blame(rowOf(old, 'b'), { nar: 'corrupt' });
    expect([...lostForms(inspection).keys()]).toEqual([hashPartFor('b')]);
  });

  it('are not lost with a listing or a text that is not as it should be', () => {
    const segment = scanned({ entries: [{ name: 'a' }, { name: 'b' }] });
    segment.blame(0, { listing: true });
    segment.blame(1, { text: true });
    expect(lostForms(inspectionOf([segment])).size).toBe(0);
  });
});

const nowhere = async () => new Set<never>();

describe('what needs a broken path', () => {
  const inspection = inspectionOf([
    scanned({ entries: [{ name: 'top', references: ['mid', 'other'] }, { name: 'other' }] }),
    scanned({ entries: [{ name: 'mid', references: ['low', 'mid'] }, { name: 'low' }] }),
  ]);

  it('is found at any distance, whatever the order of segments, with what it needs of it', async () => {
    expect(await dependentsOf(inspection, [hashPartFor('low')], nowhere)).toEqual(
      new Map([
        [hashPartFor('mid'), hashPartFor('low')],
        [hashPartFor('top'), hashPartFor('mid')],
      ]),
    );
    expect(await dependentsOf(inspection, [hashPartFor('top')], nowhere)).toEqual(new Map());
  });

  it('stays whole where others have the broken one, and is found where others have not what is in between', async () => {
    const elsewhere = (name: string) => async (asked: readonly unknown[]) =>
      new Set(asked.includes(hashPartFor(name)) ? [hashPartFor(name)] : []);
    expect(await dependentsOf(inspection, [hashPartFor('low')], elsewhere('low'))).toEqual(new Map());
    const found = await dependentsOf(inspection, [hashPartFor('low')], elsewhere('mid'));
    expect([...found.keys()]).toEqual([hashPartFor('mid')]); // top finds another mid there
  });
});

test('it is what reaches the broken paths by references, in any cache', async () => {
  const spec = fc.array(fc.record({ references: fc.array(fc.nat(), { maxLength: 3 }), segment: fc.nat(2) }), {
    minLength: 1,
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(spec, fc.nat(), async (paths, seed) => {
      const entries = paths.map(({ references }, i) => ({
        name: `p${i}`,
        references: i === 0 ? [] : [...new Set(references.map((each) => `p${each % i}`))],
      }));
      const segments = [0, 1, 2].map((at) => scanned({ entries: entries.filter((_, i) => paths[i]?.segment === at) }));
      const broken = seed % paths.length;
      const reaching = new Set([`p${broken}`]);
      for (const { name, references } of entries) if (references.some((each) => reaching.has(each))) reaching.add(name);
      reaching.delete(`p${broken}`);
      const found = await dependentsOf(inspectionOf(segments), [hashPartFor(`p${broken}`)], nowhere);
      expect(new Set(found.keys())).toEqual(new Set([...reaching].map((name) => hashPartOf(baseNameFor(name)))));
    }),
  );
});

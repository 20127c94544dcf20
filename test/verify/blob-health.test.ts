import { expect, it } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import type { ReadOnlyStore } from '../../src/oci/content-store.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { BlobHealth } from '../../src/verify/blob-health.ts';
import { Findings } from '../../src/verify/finding.ts';
import { entryOf, rowOf, type SegmentSpec, scanned } from './scanned.ts';

const blobOf = (name: string): Digest => entryOf({ name }).nar[0]?.digest as Digest;

type Answer = 'there' | 'lost' | 'other size' | 'no answer';

/** Two paths in one segment, and what the registry answers about the blob of `bad`. */
async function check(answer: Answer, spec: Partial<SegmentSpec> = {}) {
  const segment = scanned({ entries: [{ name: 'bad' }, { name: 'good' }], ...spec });
  const asked: { digest: Digest; size: number | undefined }[] = [];
  const store = {
    hasBlob: async ({ digest, size }: { digest: Digest; size?: number }) => {
      asked.push({ digest, size });
      if (digest !== blobOf('bad')) return true;
      if (answer === 'no answer') throw new NixcacheError('ERR_REGISTRY', 'busy');
      return answer === 'there' || (answer === 'other size' && size === undefined);
    },
  } as unknown as ReadOnlyStore;
  const findings = new Findings();
  const progress: [number, number][] = [];
  const health = BlobHealth.of([segment]);
  await health.check([segment], { store, findings, onProgress: (done, total) => progress.push([done, total]) });
  const kinds = findings.list.map(({ kind, what }) => [kind, what]);
  const faultOf = (name: string) => segment.faults.get(rowOf(segment, name));
  return { segment, findings, kinds, health, progress, asked, faultOf };
}

it('finds nothing where every blob is there, and asks for the size that the manifest says', async () => {
  const { segment, kinds, progress, asked } = await check('there');
  expect([kinds, segment.isDamaged]).toEqual([[], false]);
  expect(progress).toEqual([
    [1, 2],
    [2, 2],
  ]);
  expect(asked.map(({ size }) => size)).toEqual([100, 100]);
});

it.each([
  ['lost', 'blob-missing', 'lost'],
  ['other size', 'blob-damaged', 'corrupt'],
] as const)('blames a blob that is %s on the entries that lie in it, and on no others', async (answer, kind, fault) => {
  const { segment, findings, kinds, health, faultOf } = await check(answer);
  expect(kinds).toEqual([[kind, blobOf('bad')]]);
  expect(findings.list[0]?.message).toMatch(/in it lie .*-bad$/);
  expect(health.faultOf(blobOf('bad'))).toBe(fault);
  expect(segment.isBroken).toBe(true);
  expect([faultOf('bad'), faultOf('good')]).toEqual([{ nar: fault }, undefined]);
});

it('takes no blob for lost of which the registry said nothing', async () => {
  const { segment, kinds, health } = await check('no answer');
  expect(kinds).toEqual([['unanswered', blobOf('bad')]]);
  expect([segment.isDamaged, health.faultOf(blobOf('bad'))]).toEqual([false, undefined]);
});

it('asks also for blobs that entries of a broken segment name and its manifest does not', async () => {
  const segment = scanned({ entries: [{ name: 'bad' }], layers: [] });
  segment.isBroken = true;
  const findings = new Findings();
  const store = { hasBlob: async () => false } as unknown as ReadOnlyStore;
  await BlobHealth.of([segment]).check([segment], { store, findings, onProgress: () => undefined });
  expect(findings.list.map(({ kind, what }) => [kind, what])).toEqual([['blob-missing', blobOf('bad')]]);
});

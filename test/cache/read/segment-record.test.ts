import { expect, it } from 'vitest';
import { stopAtProblems } from '../../../src/cache/read/problem.ts';
import { readSegmentRecord } from '../../../src/cache/read/segment-record.ts';
import type { CheckpointConfig } from '../../../src/cache-index/checkpoint.ts';
import { segmentTag } from '../../../src/cache-index/tags.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { readView } from '../../support/cache-builder.ts';
import { day } from '../../support/gc-runs.ts';
import { MemoryStore } from '../../support/memory-store.ts';

it('knows a stale segment without going through what checkpoints list', async () => {
  const store = new MemoryStore();
  const view = await readView(store);
  const listed: string[] = [];
  let looks = 0;
  listed.includes = () => {
    looks++;
    return false;
  };
  const checkpoints = new Map([['ckpt', { segments: listed } as Partial<CheckpointConfig> as CheckpointConfig]]);
  const live = { ...view.live, checkpoints: ['ckpt'] };
  const tag = segmentTag(digestOf(Buffer.of(1)), day(0));
  const options = { store, onProblem: stopAtProblems };
  expect(await readSegmentRecord(tag, { ...view, live, checkpoints }, options)).toBeUndefined();
  expect(looks).toBe(0);
  const vouched = new Set([tag]);
  await expect(readSegmentRecord(tag, { ...view, live, checkpoints, vouched }, options)).rejects.toMatchObject({
    code: 'ERR_NOT_FOUND',
  });
});

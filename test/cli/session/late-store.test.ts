import { expect, it } from 'vitest';
import { lateStore } from '../../../src/cli/session/late-store.ts';
import { MemoryStore } from '../../support/memory-store.ts';

it('is opened once when it is first asked, and again after that failed', async () => {
  let opened = 0;
  const store = lateStore('late', async () => {
    opened += 1;
    if (opened === 1) throw new Error('nobody is there');
    return new MemoryStore();
  });
  expect([store.name, opened]).toEqual(['late', 0]);
  await expect(store.listTags()).rejects.toThrow('nobody is there');
  expect(await Promise.all([store.listTags(), store.resolve('x'), store.fetchManifest('x')])).toEqual([
    [],
    undefined,
    undefined,
  ]);
  expect(opened).toBe(2);
});

import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Slots } from '../../src/serve/slots.ts';

describe('slots', () => {
  it('go to those who wait in their order, less those who left', async () => {
    const slots = new Slots(1);
    const release = await slots.take();
    const leaving = new AbortController();
    const order: string[] = [];
    const take = async (name: string, signal?: AbortSignal): Promise<void> => {
      const free = await slots.take({ signal });
      order.push(name);
      free();
      free();
    };
    const waiting = [take('a'), take('b', leaving.signal), take('c')];
    leaving.abort();
    await expect(waiting[1]).rejects.toMatchObject({ name: 'AbortError' });
    release();
    await Promise.all([waiting[0], waiting[2]]);
    expect(order).toEqual(['a', 'c']);
    (await slots.take())();
    await expect(slots.take({ signal: leaving.signal })).rejects.toThrow();
  });

  it('leave nothing on the signal of one who got his turn: it may be that of a whole process', async () => {
    const slots = new Slots(1);
    const { signal } = new AbortController();
    const release = await slots.take({ signal });
    const next = slots.take({ signal });
    release();
    (await next)();
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

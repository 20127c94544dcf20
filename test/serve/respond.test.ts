import { describe, expect, it } from 'vitest';
import { noise, turns } from '../support/bytes.ts';
import { baseName, setUpApp } from './set-up.ts';

describe('the body of a NAR as a web stream', () => {
  it('is not read before it is asked for, and closes its source when it is given up', async () => {
    const { reader, app } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(3_000_000, 1) });
    const { body } = await app.fetch(new Request(`http://cache/${narInfo.url}`));
    await turns(1000);
    expect(reader.opened[0]?.stream.readableEnded).toBe(false);
    await body?.cancel();
    await expect.poll(() => reader.opened[0]?.stream.destroyed).toBe(true);
  });

  it('ends in an error when it is shorter than announced, and that is told', async () => {
    const { reader, app, events } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(2_000_000, 1) });
    reader.faults.endAfter = 100_000;
    const response = await app.fetch(new Request(`http://cache/${narInfo.url}`));
    await expect(response.arrayBuffer()).rejects.toThrow();
    expect(events.map(({ type }) => type)).toEqual(['answer-failed']);
  });
});

it('a refresh goes on for the others when the one who asked first leaves', async () => {
  const { reader, app } = setUpApp();
  reader.faults.refreshDelayMs = 50;
  const first = new AbortController();
  const ask = (signal?: AbortSignal) =>
    app.fetch(new Request('http://cache/_refresh', { method: 'POST', ...(signal && { signal }) }));
  const both = [ask(first.signal), ask()];
  first.abort();
  expect((await Promise.all(both)).map(({ status }) => status)).toEqual([502, 200]);
  expect(reader.refreshes).toBe(1);
});

import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { generateKey, parseSecretKey } from '../../src/nix/signature.ts';
import { hashPartOf } from '../../src/nix/store-path.ts';
import type { PublishEvent } from '../../src/publish/events.ts';
import { diffUpstream } from '../../src/publish/upstream-diff.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';

const KEYS = generateKey('far-1');

function open(far: FakeUpstream, query = ''): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return new Upstream(parseUpstream(`${far.url}${query}`), { http, clock: new ManualClock() });
}

const add = (far: FakeUpstream, number: number, key?: ReturnType<typeof parseSecretKey>) =>
  addPath(far, { baseName: `${encode(noise(20, number))}-p`, nar: noise(10, number), ...(key && { key }) });

async function setUp() {
  const [here, far] = [await startFakeUpstream(), await startFakeUpstream()];
  const [signed, held, absent] = [add(here, 1, parseSecretKey(KEYS.secret)), add(here, 2), add(here, 3)];
  add(far, 2);
  const events: PublishEvent[] = [];
  const run = (onUpstreamFailure: 'push' | 'fail' = 'push') =>
    diffUpstream([signed, held, absent], {
      upstreams: [open(far, `?trusted-public-key=${encodeURIComponent(KEYS.public)}`)],
      onUpstreamFailure,
      onEvent: (event) => events.push(event),
    });
  return { far, signed, held, absent, events, run };
}

describe('diffUpstream', () => {
  it('asks nobody where there is no upstream', async () => {
    const onEvent = (): never => expect.unreachable();
    const diff = await diffUpstream([], { upstreams: [], onUpstreamFailure: 'fail', onEvent });
    expect(diff).toEqual({ upstreamOf: new Map(), unknown: new Map() });
  });

  it('finds what an upstream has by asking', async () => {
    const { held, absent, far, events, run } = await setUp();
    const { upstreamOf, unknown } = await run();
    expect(upstreamOf.get(hashPartOf(held.path))).toContain(far.url);
    expect(upstreamOf.has(hashPartOf(absent.path))).toBe(false);
    expect(unknown.size).toBe(0);
    expect(events.filter(({ type }) => type === 'warning')).toEqual([]);
    expect(events.filter(({ type }) => type === 'upstream-asked').length).toBeGreaterThan(1);
  });

  it('asks nothing about what an upstream has signed', async () => {
    const { signed, far, run } = await setUp();
    expect((await run()).upstreamOf.get(hashPartOf(signed.path))).toContain(far.url);
    expect(far.requests.filter((request) => request.includes(hashPartOf(signed.path)))).toEqual([]);
    expect(far.requests.length).toBeGreaterThan(0);
  });

  it('publishes, with a warning, what could not be looked up', async () => {
    const { far, absent, events, run } = await setUp();
    far.faults.status = 500;
    const { upstreamOf, unknown } = await run();
    expect(upstreamOf.has(hashPartOf(absent.path))).toBe(false);
    expect(unknown.has(hashPartOf(absent.path))).toBe(true);
    expect(events.filter(({ type }) => type === 'warning')).toHaveLength(1);
  });

  it('stops instead where that was asked for', async () => {
    const { far, events, run } = await setUp();
    far.faults.status = 500;
    await expect(run('fail')).rejects.toMatchObject({
      code: 'ERR_UPSTREAM',
      message: expect.stringContaining('nothing was published'),
    });
    expect(events.filter(({ type }) => type === 'warning')).toEqual([]);
  });
});

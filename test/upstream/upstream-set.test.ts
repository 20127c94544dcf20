import { describe, expect, it, onTestFinished } from 'vitest';
import { NixcacheError } from '../../src/errors.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import type { NarInfo } from '../../src/nix/nar-info.ts';
import { encode } from '../../src/nix/nixbase32.ts';
import { generateKey, parsePublicKey, parseSecretKey } from '../../src/nix/signature.ts';
import { hashPartOf, parseStorePath, type StorePath } from '../../src/nix/store-path.ts';
import { PATIENT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { signedByUpstream, whichHave } from '../../src/upstream/upstream-set.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';

const baseName = (number: number): string => `${encode(noise(20, number))}-package-${number}`;
const path = (number: number): StorePath => parseStorePath(`/nix/store/${baseName(number)}`);
const paths = (count: number): { path: StorePath }[] => Array.from({ length: count }, (_, i) => ({ path: path(i) }));
const add = (far: FakeUpstream, number: number): NarInfo =>
  addPath(far, { baseName: baseName(number), nar: noise(10, number) });

function open(far: FakeUpstream, timeoutMs = 2000): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return new Upstream({ ...parseUpstream(far.url), timeoutMs }, { http, clock: new ManualClock() });
}

describe('whichHave', () => {
  it('counts a path present as soon as one upstream has it, and asks no other then', async () => {
    const [a, b] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const n of [0, 1]) add(a, n);
    for (const n of [1, 2]) add(b, n);
    const progress: number[] = [];
    const result = await whichHave(paths(4), [open(a), open(b)], { onEvent: ({ asked }) => progress.push(asked) });
    expect([...result.present].sort()).toEqual(
      [
        [hashPartOf(path(0)), a.url],
        [hashPartOf(path(1)), a.url],
        [hashPartOf(path(2)), b.url],
      ].sort(),
    );
    expect(result.unknown.size).toBe(0);
    expect(b.requests).toHaveLength(2);
    expect(progress).toEqual([0, 1, 2, 3, 4]);
  });

  it('does not take another path with the same hash part for the path', async () => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: `${baseName(0)}-other`, nar: noise(10, 0) });
    const result = await whichHave(paths(1), [open(far)]);
    expect(result).toEqual({ present: new Map(), unknown: new Map() });
  });

  it('never takes a failure for absence', async () => {
    const [broken, sound] = [await startFakeUpstream(), await startFakeUpstream()];
    broken.faults.status = 500;
    add(sound, 0);
    const result = await whichHave(paths(3), [open(broken), open(sound)]);
    expect([...result.present.keys()]).toEqual([hashPartOf(path(0))]);
    expect(new Set(result.unknown.keys())).toEqual(new Set([hashPartOf(path(1)), hashPartOf(path(2))]));
  });

  it('asks a dead upstream only until it is known to be dead', async () => {
    const far = await startFakeUpstream();
    far.faults.status = 502;
    const result = await whichHave(paths(500), [open(far)], { concurrency: 16 });
    expect(result.unknown.size).toBe(500);
    expect(far.requests.length).toBeLessThan(100);
  });

  it('does not wait for a silent upstream path by path', async () => {
    const far = await startFakeUpstream();
    far.faults.hang = true;
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const upstream = new Upstream({ ...parseUpstream(far.url), timeoutMs: 200 }, { http, patience: PATIENT });
    onTestFinished(() => upstream.close());
    const result = await whichHave(paths(500), [upstream], { concurrency: 32 });
    expect(result.unknown.size).toBe(500);
    // One deadline for all: those that were asked together, and nobody after them.
    expect(far.requests.length).toBeLessThanOrEqual(32);
  });

  it('survives a short outage', async () => {
    const far = await startFakeUpstream();
    for (let n = 0; n < 50; n++) add(far, n);
    Object.assign(far.faults, { status: 503, times: 20 });
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const patience = { ...PATIENT, retry: { ...PATIENT.retry, baseDelayMs: 20 } };
    const upstream = new Upstream(parseUpstream(far.url), { http, patience });
    const result = await whichHave(paths(50), [upstream], { concurrency: 10 });
    expect(result.present.size).toBe(50);
  });

  it('asks no more than it may at once', async () => {
    const far = await startFakeUpstream();
    far.faults.delayMs = 5;
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, far.active());
    }, 1);
    await whichHave(paths(40), [open(far)], { concurrency: 7 });
    clearInterval(watch);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(7);
  });

  it('stops when it is told to', async () => {
    const far = await startFakeUpstream();
    far.faults.hang = true;
    const stop = new AbortController();
    const run = whichHave(paths(10), [open(far)], { signal: stop.signal });
    setTimeout(() => stop.abort(new NixcacheError('ERR_INTERRUPTED', 'stop')), 30);
    await expect(run).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

describe('signedByUpstream', () => {
  it('names the upstream whose key signed a path', async () => {
    const far = await startFakeUpstream();
    const generated = generateKey('far-1');
    const key = parseSecretKey(generated.secret);
    const signed = addPath(far, { baseName: baseName(0), nar: noise(10, 0), key });
    const upstreams = [
      { url: 'https://a.example', publicKeys: [parsePublicKey(generateKey('far-1').public)] },
      { url: 'https://b.example', publicKeys: [parsePublicKey(generated.public)] },
    ];
    expect(signedByUpstream(signed, upstreams)).toBe('https://b.example');
    expect(signedByUpstream({ ...signed, narSize: 11 }, upstreams)).toBeUndefined();
  });
});

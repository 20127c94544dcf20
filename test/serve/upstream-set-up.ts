/** The app in front of fake upstreams. */
import { onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { type NarInfo, parseNarInfo } from '../../src/nix/nar-info.ts';
import type { ServeOptions } from '../../src/serve/serve-options.ts';
import { type Patience, PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { ManualClock } from '../http/manual-clock.ts';
import { noise } from '../support/bytes.ts';
import type { FakeUpstream } from '../support/fake-upstream.ts';
import { type Asked, newKey, setUpApp } from './set-up.ts';

/** As `serve` has it; but nothing is asked for beside the requests, since that would take real time. */
const PATIENCE: Patience = { ...PROMPT, silence: undefined };
export const KEY = newKey('far-1');
export const NAR = noise(300_000, 7);
/** Too large to be read before it is sent. */
export const LARGE = noise(3_000_000, 8);

/** Far longer than any answer takes: who is asked when is decided by answers, failures and what a test sets. */
const NEVER_MS = 100_000;

/** An upstream for which time passes only by waiting for the next attempt. */
export function open(url: string): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const cache = { ...parseUpstream(url), timeoutMs: NEVER_MS };
  return new Upstream(cache, { http, patience: PATIENCE, clock: new ManualClock() });
}

export const setUp = (fars: readonly FakeUpstream[], options: Partial<ServeOptions> = {}) =>
  setUpApp({
    upstreams: fars.map(({ url }) => open(url)),
    ...{ headStartMs: NEVER_MS, narHeadStartMs: NEVER_MS, narInfoTimeoutMs: NEVER_MS, ...options },
  });

export const infoOf = (reply: Asked): NarInfo => parseNarInfo(String(reply.body));

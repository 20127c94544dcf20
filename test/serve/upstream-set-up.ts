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

/** Longer than a test lasts: who is asked when is decided by answers, by failures, and by what the test itself sets. */
const NEVER_MS = 1e9;
/** As `serve` has it; but no clock runs beside the requests. */
const PATIENCE: Patience = { ...PROMPT, silence: undefined };
/** What has failed for long enough is not tried again. */
export const ONCE_OPEN: Patience = {
  ...PATIENCE,
  breaker: { ...PROMPT.breaker, openMs: NEVER_MS, maxOpenMs: NEVER_MS },
};
export const KEY = newKey('far-1');
export const NAR = noise(300_000, 7);
/** Too large to be read before it is sent. */
export const LARGE = noise(3_000_000, 8);

/** An upstream for which time passes only by waiting for the next attempt. */
export function open(url: string, patience = PATIENCE): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const cache = { ...parseUpstream(url), timeoutMs: NEVER_MS };
  return new Upstream(cache, { http, patience, clock: new ManualClock() });
}

export const setUp = (fars: readonly FakeUpstream[], options: Partial<ServeOptions> = {}, patience = PATIENCE) =>
  setUpApp({
    upstreams: fars.map(({ url }) => open(url, patience)),
    ...{ headStartMs: NEVER_MS, narHeadStartMs: NEVER_MS, narInfoTimeoutMs: NEVER_MS, ...options },
  });

export const infoOf = (reply: Asked): NarInfo => parseNarInfo(String(reply.body));

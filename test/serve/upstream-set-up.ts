/** The app in front of fake upstreams. */
import { onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { type NarInfo, parseNarInfo } from '../../src/nix/nar-info.ts';
import type { ServeOptions } from '../../src/serve/serve-options.ts';
import type { Patience } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { noise } from '../support/bytes.ts';
import type { FakeUpstream } from '../support/fake-upstream.ts';
import { type Asked, newKey, setUpApp } from './set-up.ts';

/** As `serve` has it, a hundred times as fast. */
const QUICK: Patience = {
  retry: { attempts: 20, baseDelayMs: 5, maxDelayMs: 20, deadlineMs: 100 },
  announced: { attempts: 60, baseDelayMs: 5, maxDelayMs: 40, deadlineMs: 1000 },
  breaker: { failures: 2, spanMs: 95, openMs: 20, maxOpenMs: 200, waitMs: 20 },
};
/** Nothing that takes as long comes while a test lasts. */
export const FOR_EVER_MS = 1e9;
/** As quick to ask again, and not to give up: however slow the machine, what heals in the end is had. */
export const LASTING: Patience = {
  retry: { ...QUICK.retry, attempts: 1000, deadlineMs: 60_000 },
  breaker: { ...QUICK.breaker, spanMs: 60_000 },
};
/** What has failed for long enough is not tried again while a test lasts. */
export const ONCE_OPEN: Patience = {
  ...QUICK,
  breaker: { ...QUICK.breaker, openMs: FOR_EVER_MS, maxOpenMs: FOR_EVER_MS },
};
export const KEY = newKey('far-1');
export const NAR = noise(300_000, 7);
/** Too large to be read before it is sent. */
export const LARGE = noise(3_000_000, 8);

export function open(url: string, patience = QUICK): Upstream {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  return new Upstream({ ...parseUpstream(url), timeoutMs: 60_000 }, { http, patience });
}

export const setUp = (fars: readonly FakeUpstream[], options: Partial<ServeOptions> = {}, patience = QUICK) =>
  setUpApp({ upstreams: fars.map(({ url }) => open(url, patience)), headStartMs: 50, ...options });

export const infoOf = (reply: Asked): NarInfo => parseNarInfo(String(reply.body));

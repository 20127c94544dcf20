import { expect, it, onTestFinished, vi } from 'vitest';
import { openUpstreams } from '../../../src/cli/session/session.ts';
import { messageOf } from '../../../src/errors.ts';
import type { HttpFetch } from '../../../src/http/http-fetch.ts';
import { NetworkError } from '../../../src/http/network-error.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import type { HashPart } from '../../../src/nix/store-path.ts';
import { PATIENT, PROMPT } from '../../../src/upstream/patience.ts';
import { parseUpstream } from '../../../src/upstream/upstream-cache.ts';
import { keptOutput } from '../streams.ts';

it('upstreams are asked by priority, 40 where none is set, then in the order given', async () => {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const urls = ['https://a.org', 'https://b.org?priority=41', 'https://c.org?priority=39', 'https://d.org?priority=1'];
  const settings = [...urls, 'https://e.org'].map((url) => ({ ...parseUpstream(url), proxy: undefined }));
  const upstreams = openUpstreams(
    settings,
    { http, proxied: () => http },
    { output: keptOutput().output, patience: PROMPT },
  );
  expect(upstreams.map(({ name }) => name[8])).toEqual(['d', 'c', 'a', 'e', 'b']);
});

const HASH = '0c5b8vw40dy178xlpddw65q9gf1h2186' as HashPart;

/** What is said while one upstream is asked for a path over `http`. */
async function toldWhile(http: HttpFetch, ms: number): Promise<string> {
  vi.useFakeTimers();
  try {
    const { output, stderr } = keptOutput();
    const settings = [{ ...parseUpstream('http://a.example:81'), proxy: undefined }];
    const [upstream] = openUpstreams(
      settings,
      { http, proxied: () => http },
      { output, patience: PATIENT, tellsWaits: true },
    );
    const asked = upstream?.hasNarInfo(HASH).catch(messageOf);
    await vi.advanceTimersByTimeAsync(ms);
    upstream?.close();
    return `${stderr.text}${await asked}`;
  } finally {
    vi.useRealTimers();
  }
}

it('a silent upstream is named while it is waited for, and given up after one deadline', async () => {
  const silent: HttpFetch = {
    request: ({ signal }) =>
      new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
  };
  expect(await toldWhile(silent, 16_000)).toMatch(
    /^waiting for a\.example:81, which has not answered for 5 s\nGET .*no whole answer within 15 s.*It has answered nothing, so this gives up$/,
  );
});

it('an upstream that refuses connections is named while it is tried again', async () => {
  const refused = new NetworkError('a.example:81 refused the connection', { host: 'a.example:81', retryable: true });
  const told = await toldWhile({ request: () => Promise.reject(refused) }, 60_000);
  expect(told).toMatch(/^a\.example:81 refused the connection; trying again in .* \(1 of 5\)\n/);
});

import { expect, it, onTestFinished } from 'vitest';
import { openUpstreams } from '../../../src/cli/session/session.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { PROMPT } from '../../../src/upstream/patience.ts';
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

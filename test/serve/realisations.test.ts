import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { formatRealisation, type Realisation, signRealisation } from '../../src/nix/realisation.ts';
import { parsePublicKey, type SecretKey } from '../../src/nix/signature.ts';
import type { BaseName } from '../../src/nix/store-path.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { noise } from '../support/bytes.ts';
import { startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, headerOf, newKey, setUpApp } from './set-up.ts';

const NAR = noise(1000, 3);
const OWN = newKey('own-1');
const OTHER = newKey('other-1');
const ID = `sha256:${'0a'.repeat(32)}!out`;
const PATH = `/realisations/${ID}.doi`;

const realisation = (keys: readonly SecretKey[] = []): Realisation =>
  signRealisation({ id: ID, outPath: baseName(1) as BaseName, dependentRealisations: {}, signatures: [] }, keys);

describe('realisations', () => {
  it.each([PATH, PATH.replace('!', '%21')])('are served as Nix writes them: %s', async (path) => {
    const { ask, reader } = setUpApp();
    reader.add({ baseName: baseName(1), nar: NAR, realisations: [realisation([OWN])] });
    const reply = await ask(path);
    expect(reply.status).toBe(200);
    expect(String(reply.body)).toBe(formatRealisation(realisation([OWN])));
    expect(headerOf(reply, 'content-type')).toBe('application/json');
    expect((await ask(path, { method: 'HEAD' })).status).toBe(200);
    expect((await ask(path, { method: 'POST' })).status).toBe(405);
  });

  it.each([
    PATH.replace('!out', '!dev'),
    '/realisations/',
    '/realisations/x.doi',
    PATH.replace('.doi', ''),
    `/realisations/..%2f..${PATH}`,
  ])('that are not there are a miss: %s', async (path) => {
    const { ask, reader } = setUpApp();
    reader.add({ baseName: baseName(1), nar: NAR, realisations: [realisation()] });
    expect((await ask(path)).status).toBe(404);
  });

  it('that no trusted key signed are not served, though one signed the path', async () => {
    const trustedPublicKeys = [parsePublicKey(OWN.publicKey.text)];
    for (const [keys, status] of [
      [[OWN], 200],
      [[OTHER], 404],
      [[], 404],
    ] as const) {
      const { ask, reader } = setUpApp({ trustedPublicKeys });
      reader.add({ baseName: baseName(1), nar: NAR, keys: [OWN], realisations: [realisation(keys)] });
      expect((await ask(PATH)).status).toBe(status);
    }
  });

  it('that the cache does not have are asked for upstream, and checked', async () => {
    const far = await startFakeUpstream();
    const http = new HttpClient();
    onTestFinished(() => http.destroy());
    const upstreams = [new Upstream(parseUpstream(far.url), { http })];
    const { ask, events } = setUpApp({ upstreams, trustedPublicKeys: [OWN.publicKey] });
    const serve = async (text: string): Promise<number> => {
      far.files.set(PATH, text);
      return (await ask(PATH)).status;
    };
    expect((await ask(PATH)).status).toBe(404);
    expect(await serve(formatRealisation(realisation([OTHER])))).toBe(404);
    expect(await serve('{"id": "another"}')).toBe(404);
    expect(events.map(({ type }) => type)).toEqual(['upstream-failed']);
    expect(await serve(formatRealisation(realisation([OWN])))).toBe(200);
  });

  it('are a miss while the index cannot be read', async () => {
    const { ask, reader, events } = setUpApp();
    reader.faults.lookUpError = 'broken';
    expect((await ask(PATH)).status).toBe(404);
    expect(events).toMatchObject([{ type: 'answer-failed', path: PATH }]);
  });
});

/** What is said of a certificate that is not accepted: by a registry's client, by an upstream's, and by serve. */
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { hashPart, setUpApp } from '../serve/set-up.ts';
import { makeAuthority, makeCertificate, startTlsServer, type TestAuthority } from '../support/tls-server.ts';

let trusted: TestAuthority;
let http: HttpClient;
beforeEach(async () => {
  trusted = await makeAuthority();
  http = new HttpClient({ env: { SSL_CERT_FILE: trusted.file } });
  onTestFinished(() => http.destroy());
});

const KINDS = {
  expired: () => makeCertificate(trusted, { from: '20200101000000Z', until: '20200201000000Z' }),
  'not valid yet': () => makeCertificate(trusted, { from: '20980101000000Z', until: '20990101000000Z' }),
  'of another host': () => makeCertificate(trusted, { names: 'DNS:cache.example.org,IP:192.0.2.1' }),
  'signed by itself': () => makeCertificate(undefined),
  'of an unknown authority': async () => makeCertificate(await makeAuthority()),
};

const SAID: Record<keyof typeof KINDS, RegExp> = {
  expired: /has expired; whoever runs it has to renew it/,
  'not valid yet': /is not valid yet; is the clock of this machine right\?/,
  'of another host': /is for another host \(cache\.example\.org, 192\.0\.2\.1\); is the address right\?/,
  'signed by itself': /is signed by itself.*NIX_SSL_CERT_FILE or SSL_CERT_FILE/,
  'of an unknown authority': /authority that is not known here.*NIX_SSL_CERT_FILE or SSL_CERT_FILE/,
};

describe.each(Object.keys(KINDS) as (keyof typeof KINDS)[])('a certificate that is %s', (kind) => {
  const expected = { code: 'ERR_NETWORK', message: expect.stringMatching(SAID[kind]), retryable: false };
  const others = Object.entries(SAID).flatMap(([other, said]) => (other === kind ? [] : said));
  const expectOnly = (text: string): void => {
    expect(text).toMatch(SAID[kind]);
    for (const said of others) expect(text).not.toMatch(said);
  };

  it('is told of by the client of a registry, and not tried again', async () => {
    const host = await startTlsServer(await KINDS[kind]());
    const store = new RemoteRepository({ host, repository: 'team/cache', http, scheme: 'https' });
    const error: unknown = await store.resolve('cache-index').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_NETWORK', message: expect.stringContaining(host) });
    expectOnly((error as Error).message);
  });

  it('is told of by the client of an upstream', async () => {
    const host = await startTlsServer(await KINDS[kind]());
    const upstream = new Upstream(parseUpstream(`https://${host}`), { http });
    await expect(upstream.fetchNarInfo(hashPart(1))).rejects.toMatchObject(expected);
  });

  it('is in the log of a server that has such an upstream, and costs a miss', async () => {
    const host = await startTlsServer(await KINDS[kind]());
    const upstream = new Upstream(parseUpstream(`https://${host}`), { http });
    const told: string[] = [];
    const onEvent = (event: { readonly type: string; readonly error?: string }): void => {
      if (event.type === 'upstream-failed') told.push(event.error ?? '');
    };
    const { ask } = setUpApp({ upstreams: [upstream], onEvent });
    expect((await ask(`/${hashPart(1)}.narinfo`)).status).toBe(404);
    expect(told).toHaveLength(1);
    expectOnly(told[0] ?? '');
  });
});

describe('a certificate that is accepted', () => {
  it('is one that an authority of the file signed for the host, today', async () => {
    const host = await startTlsServer(await makeCertificate(trusted));
    const { status, body } = await http.request({ url: `https://${host}/` });
    body.destroy();
    expect(status).toBe(200);
  });
});

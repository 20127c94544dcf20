/** Refusals without a word of why, as every HEAD has them. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import type { HttpMethod } from '../../../src/http/http-fetch.ts';
import { readRegistryError } from '../../../src/oci/remote/registry-error.ts';
import { registryKind } from '../../../src/oci/remote/registry-kinds.ts';

const url = new URL('https://registry.example/v2/o/r/manifests/cache-index');

interface Refusal {
  readonly method?: HttpMethod;
  readonly withoutSecrets?: (text: string) => string;
  /** Where the request was redirected to. */
  readonly to?: URL;
}

const messageOf = async (
  status: number,
  body: string,
  { method = 'HEAD', withoutSecrets, to = url }: Refusal = {},
): Promise<string> => {
  const response = {
    status,
    headers: {},
    body: Readable.from([Buffer.from(body)]),
    url: to,
    asked: url,
    withoutSecrets,
  };
  const kind = registryKind('registry.example');
  return (await readRegistryError(response, { method, kind, origin: url.origin, now: 0 })).message;
};

it.each([
  [400, '', '400 Bad Request; is that a registry'],
  [400, '400 Bad Request', '400 Bad Request; is that a registry'],
  [401, '', '401 Unauthorized; are the credentials right'],
  [403, '', '403 Forbidden; may this user read this repository?'],
  [404, '', '404 Not Found; is the reference right?'],
  [405, '', '405 Method Not Allowed; is that a registry, and the address right?'],
  [409, '', '409 Conflict; is that a registry, and the address right?'],
  [429, '', '429 Too Many Requests; it limits how much is asked of it: wait a while'],
  [
    500,
    '',
    '500 Internal Server Error; the registry, or a proxy in front of it, is in trouble: run the same again later',
  ],
  [502, '', '502 Bad Gateway; the registry, or a proxy in front of it, is in trouble'],
  [507, '', '507 Insufficient Storage; its storage is full'],
  [400, 'because', '400 because; is that a registry'],
])('of a %i that says %j the error says the name of the status, and what to do', async (status, body, said) => {
  expect(await messageOf(status, body)).toContain(`${url.href}: ${said}`);
});

const answer = (code: string): string => JSON.stringify({ errors: [{ code, message: 'so' }] });

it.each<[HttpMethod, number, string, string]>([
  ['PUT', 404, 'proxied', '404 proxied; that is not a registry’s word that it is absent'],
  ['PUT', 404, answer('BLOB_UPLOAD_UNKNOWN'), 'so; it has forgotten the upload: run the same again'],
  ['GET', 404, answer('BLOB_UNKNOWN'), 'so; is the reference right? what was deleted there, nixcache verify finds'],
  ['POST', 405, answer('UNSUPPORTED'), 'so; is it a mirror that takes no uploads, and the address right?'],
  ['PATCH', 501, '', '501 Not Implemented; is it a mirror that takes no uploads'],
  ['PUT', 503, answer('UNAVAILABLE'), 'so; the registry, or a proxy in front of it, is in trouble'],
])('of a %s that gets %i with %j the error says what to do', async (method, status, body, said) => {
  expect(await messageOf(status, body, { method })).toContain(said);
});

it.each([
  [403, '403 Forbidden; the registry sends there for its storage: is the clock of this machine right'],
  [404, '404 Not Found; the registry sends there for its storage'],
  [503, '503 Service Unavailable; the storage of the registry is in trouble: run the same again later'],
])('of a %i of the storage behind it the error does not blame the registry, or our rights', async (status, said) => {
  const to = new URL('https://storage.example/a/b?signature=s');
  expect(await messageOf(status, '', { method: 'GET', to })).toContain(said);
});

it('quotes an answer without the secrets that it repeats', async () => {
  const said = JSON.stringify({ errors: [{ code: 'DENIED', message: 'not with swordfish' }] });
  for (const body of [said, 'not with swordfish'])
    expect(await messageOf(403, body, { withoutSecrets: (text) => text.replaceAll('swordfish', '***') })).toContain(
      'not with ***;',
    );
});

/** Refusals without a word of why, as every HEAD has them. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { readRegistryError } from '../../../src/oci/remote/registry-error.ts';
import { registryKind } from '../../../src/oci/remote/registry-kinds.ts';

const url = new URL('https://registry.example/v2/o/r/manifests/cache-index');

const messageOf = async (status: number, body: string, withoutSecrets?: (text: string) => string): Promise<string> => {
  const response = { status, headers: {}, body: Readable.from([Buffer.from(body)]), url, asked: url, withoutSecrets };
  const kind = registryKind('registry.example');
  return (await readRegistryError(response, { method: 'HEAD', kind, origin: url.origin, now: 0 })).message;
};

it.each([
  [400, '', '400 Bad Request; is that a registry'],
  [400, '400 Bad Request', '400 Bad Request; is that a registry'],
  [401, '', '401 Unauthorized; are the credentials right'],
  [403, '', '403 Forbidden; may this user read this repository?'],
  [500, '', '500 Internal Server Error'],
  [400, 'because', '400 because; is that a registry'],
])('of a %i that says %j the error says the name of the status, and what to do', async (status, body, said) => {
  expect(await messageOf(status, body)).toContain(`${url.href}: ${said}`);
});

it('quotes an answer without the secrets that it repeats', async () => {
  const said = JSON.stringify({ errors: [{ code: 'DENIED', message: 'not with swordfish' }] });
  for (const body of [said, 'not with swordfish'])
    expect(await messageOf(403, body, (text) => text.replaceAll('swordfish', '***'))).toContain('not with ***;');
});

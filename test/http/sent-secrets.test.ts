import { expect, it } from 'vitest';
import type { Exchange } from '../../src/http/redirects.ts';
import { tellSecrets } from '../../src/http/sent-secrets.ts';

function secretsOf(exchange: Partial<Exchange>): string[] {
  const told: string[] = [];
  const whole = { url: new URL('https://registry.example/v2/'), headers: {}, ...exchange } as Exchange;
  tellSecrets(whole, (secret, kind) => told.push(`${kind} ${secret}`));
  return told;
}

it('of a login, the form in which it is sent is secret, the pair that it holds, and the password alone', () => {
  const pair = 'me:s3cret:with colon';
  const credentials = Buffer.from(pair).toString('base64');
  for (const name of ['authorization', 'Proxy-Authorization']) {
    expect(secretsOf({ headers: { [name]: `Basic ${credentials}` } })).toEqual([
      `lasting ${credentials}`,
      `lasting ${pair}`,
      'lasting s3cret:with colon',
    ]);
  }
});

it('so is a token, a cookie, what signs a URL, and what a form logs in with', () => {
  expect(secretsOf({ headers: { authorization: 'Bearer t0ken', cookie: 'session=1', accept: '*/*' } })).toEqual([
    'lasting t0ken',
    'lasting session=1',
  ]);
  expect(secretsOf({ url: new URL('https://s3.example/x?X-Amz-Signature=abc&partNumber=1') })).toEqual(['passing abc']);
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = Buffer.from('grant_type=password&username=me&password=p%20w&refresh_token=r');
  expect(secretsOf({ headers, body })).toEqual(['lasting r', 'lasting p w']);
});

import { expect, it } from 'vitest';
import { Secrets } from '../../../src/cli/ui/secrets.ts';
import { generateKey } from '../../../src/nix/signature.ts';
import { redactUrls, secretsIn, secretsInUrls } from '../../../src/url-secrets.ts';

it.each([
  ["'http://me:PW@host:80/x' is no cache", "'http://***@host:80/x' is no cache"],
  ['https://TOKEN@github.com/o/r.git', 'https://***@github.com/o/r.git'],
  ['git+https://me:P%40W@host/r?ref=main', 'git+https://***@host/r?ref=main'],
  ['socks5://me:PW@proxy:1080', 'socks5://***@proxy:1080'],
  // Not escaped as they must be, and then quoted in an error.
  ['http://me:P/W@host/', 'http://***@host/'],
  ['http://me:P@W@host/', 'http://***@host/'],
  ['http://me:P?W#x@host/', 'http://***@host/'],
  ['http://me:12345@host/', 'http://***@host/'],
  ['git+ssh://me:PW@host/r', 'git+ssh://***@host/r'],
  [
    '{"source":"https://me:PW@host/f.tar.gz?token=TTT&dir=a"}',
    '{"source":"https://***@host/f.tar.gz?token=***&dir=a"}',
  ],
  [
    'https://s3/x?X-Amz-Signature=abc&X-Amz-Credential=def&X-Amz-Date=1',
    'https://s3/x?X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Date=1',
  ],
  ['https://a.blob/x?se=2026&sig=abc', 'https://a.blob/x?se=2026&sig=***'],
  ['https://gitlab/x?private_token=abc', 'https://gitlab/x?private_token=***'],
  ['two: http://a:b@c http://d:e@f', 'two: http://***@c http://***@f'],
])('of %s it shows %s', (text, shown) => {
  expect(redactUrls(text)).toBe(shown);
});

it.each([
  'git+ssh://git@github.com/o/r?ref=main&rev=0a1b',
  'https://registry.npmjs.org/@scope/pkg',
  'https://host:8080/@scope/pkg',
  'https://cache.example.org?priority=10',
  'oci:/tmp/a@b',
  'mail me@example.org',
  'ghcr.io/o/r@sha256:00',
  'https://a/b and c@d',
])('leaves %s as it is', (text) => {
  expect(redactUrls(text)).toBe(text);
});

it('finds the secrets of URLs, so that they can be blotted out wherever else they turn up', () => {
  expect(secretsInUrls('--to=https://me:PW@host/x?token=TTT&ref=main')).toEqual(['PW', 'TTT']);
  expect(secretsInUrls('https://TOKEN@host')).toEqual(['TOKEN']);
  expect(secretsInUrls('git+ssh://gitea@host/r')).toEqual([]);
});

it.each([
  ['me:PWPW@host:3128', ['PWPW']],
  ['http:/me:PWPW@host', ['PWPW']],
  ['socks5:me:PWPW@host', ['PWPW']],
  ['--upstream=me:PW/PW@host', ['PW/PW']],
  [':PWPW@host/f', ['PWPW']],
  ['https://a me:PWPW@b https://c?token=TTT', ['TTT', 'PWPW']],
  ['path:/a@b', []],
  ['oci:/tmp/a@b', []],
  ['github:o/r@v1', []],
  ['git+ssh://git@github.com/o/r', []],
  ['git@github.com:o/r.git', []],
  ['ghcr.io/o/r:latest@sha256:00', []],
  ['localhost:5000/o/@r', []],
])('finds the passwords of %s, which may be no URL: %j', (text, secrets) => {
  expect(secretsIn(text)).toEqual(secrets);
});

it.each([
  ['Go', 'x&lt;1&amp;&#34;2&#39;3/=y'],
  ['Python', 'x&lt;1&amp;&quot;2&#x27;3/=y'],
  ['PHP', 'x&lt;1&amp;&quot;2&#039;3/=y'],
  ['nginx', `x&lt;1&amp;&quot;2'3/=y`],
  ['a template', 'x&lt;1&amp;&quot;2&#39;3&#x2F;&#x3D;y'],
  ['Go’s JSON', String.raw`x\u003c1\u0026\"2'3/=y`],
])('blots out a secret as HTML or JSON has it: %s', (_who, text) => {
  const secrets = new Secrets();
  secrets.add(`x<1&"2'3/=y`);
  expect(secrets.redact(`no: ${text}.`)).toBe('no: ***.');
});

it.each([
  [['abcd', 'abcdefgh', 'xx-abcdefgh-yy']],
  [['xx-abcdefgh-yy', 'abcdefgh', 'abcd']],
  [['abcdefgh', 'xx-abcdefgh-yy', 'abcd']],
])('blots out the whole of a secret that holds another one, learnt in the order %j', (learnt) => {
  const secrets = new Secrets();
  for (const secret of learnt) secrets.add(secret);
  expect(secrets.redact('<xx-abcdefgh-yy> <abcdefgh> <abcd>')).toBe('<***> <***> <***>');
});

const learnt = (...all: readonly string[]): Secrets => {
  const secrets = new Secrets();
  for (const secret of all) secrets.add(secret);
  return secrets;
};

it.each([
  'cache-1',
  'example.org-123',
  'example.org-1234',
  'a-very.long.example.organisation-1',
  'K3y4N5m6e7W8x9Y0z-1',
])('of a key that is called %s only what is secret is blotted out, whole or cut short', (name) => {
  const { secret, public: key } = generateKey(name);
  const bare = secret.slice(name.length + 1);
  const said = `${name} ${key} /keys/${name}.secret ghcr.io/o/${name}-x`;
  for (const given of [secret, `${secret}\n`, `${secret}\n${generateKey('other-1').secret}`]) {
    const secrets = learnt(given);
    for (const place of ['story', 'result'] as const) {
      expect(secrets.redact(said, place)).toBe(said);
      for (const form of [bare, bare.slice(0, -20), bare.slice(0, 24), Buffer.from(secret).toString('base64')])
        expect(secrets.redact(`<${form}>`, place)).not.toContain(form.slice(-20));
      expect(secrets.redact(`${secret} ${name}:${bare.slice(0, 40)}`, place)).toBe(`${name}:*** ${name}:***`);
    }
  }
});

it.each([
  ['x86_64-linux', '{"system":"x86_64-linux"}'],
  ['ubuntu', '{"runner":"ubuntu-latest","os":"ubuntu"}'],
  ['walk', '/nix/store/00000000000000000000000000000000-walk-hello-1.0'],
  ['cache.example.org-1', 'signed by cache.example.org-1'],
  ['python311', '/nix/store/00000000000000000000000000000000-python311-requests'],
  ['12345678', '{"size":12345678}'],
])('of the password %s, which is a name too, a result keeps %s', (password, text) => {
  expect(learnt(password, `ci:${password}`).redact(text, 'result')).toBe(text);
});

it('blots out a password that is a name where it stands alone in what others said', () => {
  const said =
    'denied: ubuntu, "ubuntu", me:ubuntu@host, password=ubuntu; not ubuntu-latest, ghcr.io/ubuntu/x or xubuntu';
  expect(learnt('ubuntu').redact(said)).toBe(
    'denied: ***, "***", me:***@host, password=***; not ubuntu-latest, ghcr.io/ubuntu/x or xubuntu',
  );
});

it.each([
  'ghp_16C7e42F292c6912E7710c838347Ae178B4a',
  'correct horse battery staple',
  'S3cr3t!x',
  'kqzjxwvbtrnmlpfghdsy',
])('blots out %s anywhere', (secret) => {
  const text = `x${secret}x ${Buffer.from(`me:${secret}`).toString('base64')}`;
  expect(learnt(secret).redact(text, 'result')).toMatch(/^x\*\*\*x [\w+/]{2,7}\*\*\*[\w+/=]{0,4}$/);
});

it('blots out the base64 of a login that was cut short, and no user by it', () => {
  const user = 'robot-of-the-organisation';
  const pair = `${user}:aB3dE5gH7jK9mN1pQ3sT5v`;
  const secrets = new Secrets();
  const encoded = Buffer.from(pair).toString('base64');
  secrets.add(encoded, Math.ceil(((user.length + 1) * 4) / 3));
  secrets.add(pair, user.length + 1);
  const cut = encoded.slice(0, -8);
  expect(secrets.redact(`Basic ${cut}`)).toBe('Basic ***');
  const name = Buffer.from(user).toString('base64');
  expect(secrets.redact(`${user} ${name}`)).toBe(`${user} ${name}`);
});

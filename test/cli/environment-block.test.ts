import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { secretsIn } from '../../src/cli/environment-block.ts';

const FOR_OTHERS = { HTTPS_PROXY: 'http://me:hunter22@proxy:3128', AWS_SECRET_ACCESS_KEY: 'wJalrX' };
const SECRETS = { NIXCACHE_PASSWORD: 'open=se\nsame77', NIX_SIGNING_KEY: 'a-1:x', GH_TOKEN: '' };

const found = (block: string): string[] =>
  secretsIn(Buffer.from(block, 'latin1')).map(({ at, length }) => block.slice(at, at + length));

it.each([
  ['none', 'LANG=C\0PATH=/bin\0', []],
  ['nothing', '', []],
  ['one between others', 'LANG=C\0GITHUB_TOKEN=t=1\0PATH=/bin\0', ['GITHUB_TOKEN=t=1']],
  ['one twice', 'GH_TOKEN=a\0GH_TOKEN=b\0', ['GH_TOKEN=a', 'GH_TOKEN=b']],
  ['names that only look so', 'MY_GH_TOKEN=a\0GH_TOKEN_OLD=b\0GH_TOKEN\0A=GH_TOKEN=c\0', []],
  ['logins in URLs', 'A=ssh://me@x/\0B=x http://me:p%40@x:1/\0C=a:b@c\0', ['B=x http://me:p%40@x:1/']],
  ['proxies without a scheme', 'HTTPS_PROXY=me:pw@x:9\0all_proxy=me@x\0', ['HTTPS_PROXY=me:pw@x:9', 'all_proxy=me@x']],
  ['a user name alone', 'A=https://TOKEN@x/\0', ['A=https://TOKEN@x/']],
  ['a password with a slash', 'A=http://me:p/w@x/\0', ['A=http://me:p/w@x/']],
  [
    'parameters',
    'NIXCACHE_UPSTREAM=https://x?priority=1&token=t\0',
    ['NIXCACHE_UPSTREAM=https://x?priority=1&token=t'],
  ],
  ['a cache’s login', 'NIXCACHE_CACHE=me:pw@x/r\0', ['NIXCACHE_CACHE=me:pw@x/r']],
  ['gaps, and an end without its NUL', '\0\0A=b\0\0NIX_SIGNING_KEY=k', ['NIX_SIGNING_KEY=k']],
])('finds what a block holds: %s', (_, block, secrets) => {
  expect(found(block)).toEqual(secrets);
});

it('leaves no secret in the block of a process, in process.env those that others need, and all else as it was', async () => {
  const file = fileURLToPath(new URL('../../src/cli/environment-block.ts', import.meta.url));
  const script = `
    import { readFileSync } from 'node:fs';
    import { eraseSecrets } from ${JSON.stringify(file)};
    const before = { ...process.env };
    eraseSecrets();
    eraseSecrets();
    const block = readFileSync('/proc/self/environ', 'utf8').split('\\0').filter((entry) => entry !== '');
    console.log(JSON.stringify({ before, after: { ...process.env }, block }));`;
  const env = { LANG: 'C', LC_ALL: 'C', ...SECRETS, ...FOR_OTHERS, OTHER: 'x=GH_TOKEN=y' };
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', script], {
    env,
    extendEnv: false,
  });
  const rest = { LANG: 'C', LC_ALL: 'C', OTHER: 'x=GH_TOKEN=y' };
  expect(JSON.parse(stdout)).toEqual({
    before: env,
    after: { ...rest, ...FOR_OTHERS },
    block: Object.entries(rest).map(([name, value]) => `${name}=${value}`),
  });
});

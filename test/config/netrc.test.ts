import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findLogin, netrcLogins } from '../../src/config/netrc.ts';
import { tempDir } from '../support/temp-dir.ts';

describe('a netrc file', () => {
  const text = `# comment
machine other.example login o password p
machine cache.example
  login me
  password "s3 \\"cret"
macdef init
machine macro.example login no password no

machine bare.example password token
default login anyone password else
`;

  it.each([
    ['cache.example', { login: 'me', password: 's3 "cret' }],
    ['CACHE.example', { login: 'me', password: 's3 "cret' }],
    ['other.example', { login: 'o', password: 'p' }],
    ['bare.example', { login: '', password: 'token' }],
    ['macro.example', { login: 'anyone', password: 'else' }],
    ['sub.cache.example', { login: 'anyone', password: 'else' }],
  ])('has the login for %s', (host, login) => expect(findLogin(text, host)).toEqual(login));

  it('has the login of one user among several, and for others by name alone', () => {
    const two = `machine a.example login x password 1\nmachine a.example login y password 2\n${text}`;
    expect(findLogin(two, 'a.example')).toEqual({ login: 'x', password: '1' });
    expect(findLogin(two, 'a.example', { username: 'y' })).toEqual({ login: 'y', password: '2' });
    expect(findLogin(two, 'a.example', { username: 'z' })).toBeUndefined();
    expect(findLogin(text, 'cache.example', { byDefault: false })).toEqual({ login: 'me', password: 's3 "cret' });
    expect(findLogin(text, 'sub.cache.example', { byDefault: false })).toBeUndefined();
  });

  it('has none for others without a default', () => {
    expect(findLogin('machine a.example login x password y', 'b.example')).toBeUndefined();
    expect(findLogin('machine a.example login x', 'a.example')).toBeUndefined();
    expect(findLogin('', 'a.example')).toBeUndefined();
  });
});

describe("Nix's netrc", () => {
  const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`;
  const url = 'https://cache.example/sub';

  async function machine(files: Readonly<Record<string, string>>): Promise<{ HOME: string; NIX_CONF_DIR: string }> {
    const home = await tempDir();
    await mkdir(join(home, 'etc'));
    await mkdir(join(home, '.config/nix'), { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(home, name), text);
    return { HOME: home, NIX_CONF_DIR: join(home, 'etc') };
  }
  const netrc = (who: string): string => `machine cache.example login ${who} password pw\n`;

  it('is beside nix.conf, or where the settings say, the last of them', async () => {
    const env = await machine({ 'etc/netrc': netrc('usual'), 'etc/other': netrc('system'), own: netrc('own') });
    expect(netrcLogins(env)(url)).toBe(basic('usual:pw'));
    await writeFile(join(env.NIX_CONF_DIR, 'nix.conf'), '# netrc-file = no\n!include more.conf\n');
    await writeFile(
      join(env.NIX_CONF_DIR, 'more.conf'),
      `netrc-file = ${env.NIX_CONF_DIR}/other # here\ninclude more.conf\n`,
    );
    expect(netrcLogins(env)(url)).toBe(basic('system:pw'));
    await writeFile(join(env.HOME, '.config/nix/nix.conf'), `netrc-file = ${env.HOME}/own\n`);
    expect(netrcLogins(env)(url)).toBe(basic('own:pw'));
    expect(netrcLogins({ ...env, NIX_CONFIG: `netrc-file = ${env.NIX_CONF_DIR}/netrc` })(url)).toBe(basic('usual:pw'));
  });

  it('that is not there, or has nothing, gives nothing, nor for what is no web address', async () => {
    const env = await machine({ 'etc/netrc': netrc('x') });
    expect(netrcLogins(env)('https://other.example')).toBeUndefined();
    expect(netrcLogins(env)('file:///cache.example')).toBeUndefined();
    expect(netrcLogins({ ...env, NIX_CONFIG: 'netrc-file = /nonexistent/netrc' })(url)).toBeUndefined();
  });
});

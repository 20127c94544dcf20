import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveCredentials } from '../../src/config/credentials.ts';
import { NO_CONFIG } from '../../src/config/setting.ts';
import { readSigningKeys, resolveSigningKeys } from '../../src/config/signing-keys.ts';
import { generateKey } from '../../src/nix/signature.ts';
import { type Given, sources } from './sources.ts';

const resolve = async (given: Given) => resolveSigningKeys(await sources(given));

describe('the signing keys are those of', () => {
  const env = { NIXCACHE_SIGNING_KEY_FILE: 'f', NIXCACHE_SIGNING_KEY: 'n:text', NIX_SIGNING_KEY: 'm:text' };
  const config = 'signing_key_file = "k"';

  it.each<[string, Given, readonly object[]]>([
    [
      'the flags',
      { flags: { keyFile: ['a', '~/b'] }, env, config },
      [
        { from: '--key-file', file: '/work/a' },
        { from: '--key-file', file: '/home/me/b' },
      ],
    ],
    ['NIXCACHE_SIGNING_KEY_FILE', { env, config }, [{ from: 'NIXCACHE_SIGNING_KEY_FILE', file: '/work/f' }]],
    [
      'NIXCACHE_SIGNING_KEY',
      { env: { NIXCACHE_SIGNING_KEY: 'n:text', NIX_SIGNING_KEY: 'm:text' }, config },
      [{ from: 'NIXCACHE_SIGNING_KEY', text: 'n:text' }],
    ],
    ['NIX_SIGNING_KEY', { env: { NIX_SIGNING_KEY: 'm:text' }, config }, [{ from: 'NIX_SIGNING_KEY', text: 'm:text' }]],
    [
      'the config file, relative to it',
      { config: 'signing_key_files = ["a", "/b"]' },
      [{ file: '/etc/nixcache/a' }, { file: '/b' }],
    ],
    ['nobody', { env: { NIX_SIGNING_KEY: ' ' } }, []],
  ])('%s', async (_name, given, expected) => {
    expect(await resolve(given)).toMatchObject(expected);
    expect(await resolve(given)).toHaveLength(expected.length);
  });
});

describe('reading signing keys', () => {
  let directory = '';
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'nixcache-keys-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const write = async (name: string, text: string) => {
    const file = join(directory, name);
    await writeFile(file, text);
    return { from: '--key-file', file };
  };

  it('takes files and texts, and each key once', async () => {
    const [a, b] = [generateKey('a-1'), generateKey('b-1')];
    const keys = await readSigningKeys([
      await write('a', `${a.secret}\n`),
      { from: 'V', text: b.secret },
      { from: 'W', text: a.secret },
    ]);
    expect(keys.map(({ publicKey }) => publicKey.text)).toEqual([a.public, b.public]);
  });

  it('refuses two keys of one name', async () => {
    const texts = [generateKey('a-1').secret, generateKey('a-1').secret];
    await expect(readSigningKeys(texts.map((text) => ({ from: 'V', text })))).rejects.toThrow(
      /two different signing keys/,
    );
  });

  it('never repeats what a file holds that is no key', async () => {
    const { secret } = generateKey('a-1');
    const contents = [
      '-----BEGIN hunter22-----',
      secret.slice(0, -9),
      secret.slice(4),
      `user hunter22: ${secret.slice(4, -9)}`,
      `x${'y'.repeat(5000)}`,
    ];
    for (const [index, text] of contents.entries()) {
      const source = await write(String(index), text);
      const error = await readSigningKeys([source]).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'ERR_KEY', message: expect.stringContaining(source.file) });
      expect(String(error)).not.toMatch(/hunter22|yyyy/);
      expect(String(error)).not.toContain(secret.slice(10, 40));
    }
  });

  it('names the file that is missing', async () => {
    await expect(readSigningKeys([{ from: '--key-file', file: join(directory, 'none') }])).rejects.toMatchObject({
      code: 'ERR_KEY',
      message: expect.stringContaining(`${directory}/none (--key-file): there is no such file`),
    });
  });
});

const NOWHERE = { config: NO_CONFIG, cwd: '/' };

describe('credentials', () => {
  const env = { NIXCACHE_USERNAME: 'me', NIXCACHE_PASSWORD: 'hunter22' };

  it('come from flags and standard input before the environment', () => {
    expect(resolveCredentials({ ...NOWHERE, flags: { username: 'you', passwordStdin: true }, env }, 'piped')).toEqual({
      username: 'you',
      password: 'piped',
    });
    expect(resolveCredentials({ ...NOWHERE, flags: {}, env }, undefined)).toEqual({
      username: 'me',
      password: 'hunter22',
    });
    expect(resolveCredentials({ ...NOWHERE, flags: {}, env: {} }, undefined)).toBeUndefined();
  });

  it('may be a password alone, but not a user name', () => {
    expect(resolveCredentials({ ...NOWHERE, flags: {}, env: { NIXCACHE_PASSWORD: 'p' } }, undefined)).toMatchObject({
      password: 'p',
    });
    expect(() => resolveCredentials({ ...NOWHERE, flags: { username: 'me' }, env: {} }, undefined)).toThrow(
      /without a password/,
    );
  });

  it('want something on standard input when it is asked for', () => {
    expect(() => resolveCredentials({ ...NOWHERE, flags: { passwordStdin: true }, env }, '')).toThrow(
      /nothing on standard input/,
    );
  });
});

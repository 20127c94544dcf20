import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateKey, parsePublicKey, parseSecretKey } from '../../../../src/nix/signature.ts';
import { tempDir } from '../../../support/temp-dir.ts';
import { runCli } from '../../run-cli.ts';

const modeOf = async (file: string): Promise<string> => ((await stat(file)).mode & 0o777).toString(8);

describe('key generate', () => {
  it('keeps keys in a directory of their own, outside of flakes, which nobody else can open', async () => {
    const [cwd, home] = [await tempDir(), await tempDir()];
    expect(await runCli(['key', 'generate', 'a-1'], { cwd, env: { HOME: home } })).toMatchObject({ exitCode: 0 });
    expect(await readdir(cwd)).toEqual([]);
    const keys = join(home, '.config/nixcache/keys');
    expect((await readdir(keys)).sort()).toEqual(['a-1.public', 'a-1.secret']);
    expect(await modeOf(keys)).toBe('700');
    const env = { HOME: home, XDG_CONFIG_HOME: join(home, 'x') };
    const { stdout } = await runCli(['key', 'generate', 'a-1', '--json'], { cwd, env });
    expect(JSON.parse(stdout)).toMatchObject({ secretKeyFile: join(home, 'x/nixcache/keys/a-1.secret') });
  });

  it.each(['000', '022', '077'])('makes files with the right modes under umask %s', async (umask) => {
    const cwd = await tempDir();
    expect(await runCli(['key', 'generate', 'a-1', '--out-dir', '.'], { cwd, umask })).toMatchObject({ exitCode: 0 });
    expect([await modeOf(join(cwd, 'a-1.secret')), await modeOf(join(cwd, 'a-1.public'))]).toEqual(['600', '644']);
  });

  it('makes a pair that belongs together, and prints the public half alone', async () => {
    const cwd = await tempDir();
    const { stdout, stderr } = await runCli(['key', 'generate', 'a-1', '--out-dir', 'made/here'], { cwd });
    const secret = await readFile(join(cwd, 'made/here/a-1.secret'), 'utf8');
    expect(parseSecretKey(secret).publicKey.text).toBe(stdout);
    expect(await readFile(join(cwd, 'made/here/a-1.public'), 'utf8')).toBe(`${stdout}\n`);
    expect(stderr).toContain(`extra-trusted-public-keys = ${stdout}`);
    expect(stderr).not.toContain(secret.slice(4));
  });

  it.each(['example.org-123', 'example.org-1234', 'a.very-long.name.example.org-1', 'cache.example.org-1'])(
    'shows all that is public of a key called %s, wherever it is spoken of',
    async (name) => {
      const cwd = await tempDir();
      const made = await runCli(['key', 'generate', name, '--out-dir', cwd]);
      const key = (await readFile(join(cwd, `${name}.public`), 'utf8')).trim();
      expect(key).toMatch(new RegExp(`^${name}:[\\w+/]{43}=$`));
      expect(made.stdout).toBe(key);
      expect(made.stderr).toContain(`extra-trusted-public-keys = ${key}`);
      expect(made.stderr).toContain(`--key-file ${cwd}/${name}.secret\n`);
      const file = `${name}.secret`;
      const secret = await readFile(join(cwd, file), 'utf8');
      expect(await runCli(['key', 'public', file], { cwd })).toEqual({ exitCode: 0, stdout: key, stderr: '' });
      const { stdout } = await runCli(['key', 'public', file, '--json'], { cwd, env: { NIX_SIGNING_KEY: secret } });
      expect(JSON.parse(stdout)).toEqual({ name, publicKey: key });
    },
  );

  it.each(['a-1.secret', 'a-1.public'])('never overwrites %s', async (name) => {
    const cwd = await tempDir();
    await writeFile(join(cwd, name), 'precious');
    const { exitCode, stdout, stderr } = await runCli(['key', 'generate', 'a-1', '--out-dir', '.'], { cwd });
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain(`${name} exists already`);
    expect(await readdir(cwd)).toEqual([name]);
    expect(await readFile(join(cwd, name), 'utf8')).toBe('precious');
  });

  it('follows no link', async () => {
    const cwd = await tempDir();
    await symlink(join(cwd, 'elsewhere'), join(cwd, 'a-1.secret'));
    expect(await runCli(['key', 'generate', 'a-1', '--out-dir', '.'], { cwd })).toMatchObject({ exitCode: 2 });
    expect(await readdir(cwd)).toEqual(['a-1.secret']);
  });

  it.each(['../a', 'a b', 'a:b', '.a', ''])('refuses the name %j', async (name) => {
    expect(await runCli(['key', 'generate', name], { cwd: await tempDir() })).toMatchObject({
      exitCode: 2,
      stdout: '',
    });
  });

  it('says why it cannot write', async () => {
    const cwd = await tempDir();
    await writeFile(join(cwd, 'file'), '');
    const { exitCode, stderr } = await runCli(['key', 'generate', 'a-1', '--out-dir', 'file'], { cwd });
    expect(exitCode).toBe(1);
    expect(stderr).not.toContain('bug');
  });
});

describe('key public', () => {
  const key = generateKey('a-1');

  it('prints the public key of a file and of standard input', async () => {
    const cwd = await tempDir();
    await writeFile(join(cwd, 'k'), `${key.secret}\n`);
    expect(await runCli(['key', 'public', 'k'], { cwd })).toEqual({ exitCode: 0, stdout: key.public, stderr: '' });
    expect(await runCli(['key', 'public', '-'], { input: key.secret })).toMatchObject({ stdout: key.public });
    const { stdout } = await runCli(['key', 'public', 'k', '--json'], { cwd });
    expect(JSON.parse(stdout)).toEqual({ name: 'a-1', publicKey: parsePublicKey(key.public).text });
  });

  it.each<[string, string]>([
    ['cut off', key.secret.slice(0, -8)],
    ['damaged', key.secret.replace(/.{8}$/, 'AAAAAA==')],
    ['without name', key.secret.slice(4)],
    ['of another kind', `-----BEGIN PRIVATE KEY-----\n${key.secret.slice(4, 60)}\n`],
    ['empty', ''],
  ])('of a key that is %s prints nothing of it', async (_name, text) => {
    const cwd = await tempDir();
    await writeFile(join(cwd, 'k'), text);
    const { exitCode, stdout, stderr } = await runCli(['key', 'public', 'k', '--verbose'], { cwd });
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain(`read signing key ${cwd}/k`);
    for (let at = 4; at + 12 < key.secret.length; at += 12) expect(stderr).not.toContain(key.secret.slice(at, at + 12));
  });

  it('names a file that is not there or no file', async () => {
    const cwd = await tempDir();
    await mkdir(join(cwd, 'd'));
    for (const name of ['none', 'd']) {
      const { exitCode, stderr } = await runCli(['key', 'public', name], { cwd });
      expect(exitCode).toBe(2);
      expect(stderr).toContain(`${cwd}/${name}`);
    }
  });
});

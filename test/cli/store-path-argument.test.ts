import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveStorePath } from '../../src/cli/store-path-argument.ts';

const hash = (letter: string): string => letter.repeat(32);
let cwd: string;
let storeDir: string;
let target: string;
let link: string;

beforeAll(async () => {
  cwd = await realpath(await mkdtemp(join(tmpdir(), 'nixcache-test-')));
  storeDir = join(cwd, 'store');
  target = join(storeDir, `${hash('a')}-target`);
  link = join(storeDir, `${hash('b')}-link`);
  await mkdir(target, { recursive: true });
  await writeFile(join(target, 'file'), '');
  await symlink(target, link);
  await symlink(link, join(cwd, 'result'));
  await symlink('result', join(cwd, 'again'));
  await symlink('.', join(cwd, 'here'));
  await symlink(join(target, 'file'), join(cwd, 'file'));
  await symlink('/nix/store', join(cwd, 'nowhere'));
  await symlink('circle', join(cwd, 'circle'));
  await writeFile(join(cwd, 'plain'), '');
});

afterAll(() => rm(cwd, { recursive: true, force: true }));

const resolved = (text: string): Promise<string> => resolveStorePath(text, { storeDir, cwd, what: 'push' });

describe('the store path of an argument', () => {
  it('is the first one in the store that links lead to, though it be a link itself', async () => {
    for (const text of ['result', './again', './here/here/again', 'result/file', link, `${link}/file`]) {
      expect(await resolved(text)).toBe(link);
    }
  });

  it('is that which a file lies in', async () => {
    for (const text of ['file', `${target}/file`, 'store/../file', target]) expect(await resolved(text)).toBe(target);
  });

  it('may be missing on this disk', async () => {
    const path = `/nix/store/${hash('c')}-x`;
    await symlink(path, join(cwd, 'dangling'));
    expect(await resolveStorePath('dangling', { storeDir: '/nix/store', cwd, what: 'pin' })).toBe(path);
    expect(await resolveStorePath(`nowhere/${hash('c')}-x/y`, { storeDir: '/nix/store', cwd, what: 'pin' })).toBe(path);
  });

  it.each([
    ['.#hello', /^push \.#hello: it is a flake/],
    ['plain', /^push plain: it is no store path: /],
    ['plain/below', /^push plain\/below: it is no store path: /],
    ['circle', /links lead in a circle/],
    ['store', /it is no store path/],
  ])('is none in %s', async (text, message) => {
    await expect(resolved(text)).rejects.toMatchObject({ code: 'ERR_USAGE', message: expect.stringMatching(message) });
  });
});

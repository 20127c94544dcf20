import { existsSync, statSync } from 'node:fs';
import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { handOver, takeOver } from '../../src/cli/hand-over.ts';
import { tempDir } from '../support/temp-dir.ts';

const SECRETS = { NIXCACHE_PASSWORD: 'opensesame77', NIX_SIGNING_KEY: 'a-1:x' };

it('needs no new start where there is no secret', () => {
  expect(handOver({ LANG: 'C', NIXCACHE_PASSWORD: '' })).toBeUndefined();
  expect(takeOver({ LANG: 'C' })).toEqual({ LANG: 'C' });
});

it('takes every secret out, into a file of this user alone, and gives all of it back once', async () => {
  const runtime = await tempDir();
  const env = { LANG: 'C', XDG_RUNTIME_DIR: runtime, ...SECRETS };
  const handed = handOver(env) ?? {};
  expect(JSON.stringify(handed)).not.toMatch(/opensesame77|a-1:x|NIXCACHE_PASSWORD|NIX_SIGNING_KEY/);
  const file = handed['NIXCACHE_HANDED_OVER'] ?? '';
  expect([statSync(file).mode & 0o777, statSync(dirname(file)).mode & 0o777]).toEqual([0o600, 0o700]);
  expect(takeOver(handed)).toEqual(env);
  expect(await readdir(runtime)).toEqual([]);
  expect(() => takeOver(handed)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
});

it('goes elsewhere where the runtime directory cannot be written to', async () => {
  const handed = handOver({ XDG_RUNTIME_DIR: join(await tempDir(), 'none'), ...SECRETS }) ?? {};
  expect(existsSync(handed['NIXCACHE_HANDED_OVER'] ?? '')).toBe(true);
  expect(takeOver(handed)).toMatchObject(SECRETS);
});

it.each(['readable by others', 'elsewhere', 'a link'])('takes nothing from a file that is %s', async (how) => {
  const directory = join(await tempDir(), how === 'elsewhere' ? 'other' : 'nixcache-x');
  await mkdir(directory, { mode: 0o700 });
  const file = join(directory, 'environment');
  if (how === 'a link') {
    const target = join(await tempDir(), 'target');
    await writeFile(target, '{"PATH":"/evil"}', { mode: 0o600 });
    await symlink(target, file);
  } else {
    await writeFile(file, '{"PATH":"/evil"}');
    await chmod(file, how === 'readable by others' ? 0o644 : 0o600);
  }
  expect(() => takeOver({ NIXCACHE_HANDED_OVER: file })).toThrow(/unset NIXCACHE_HANDED_OVER/);
  expect(existsSync(file)).toBe(true);
});

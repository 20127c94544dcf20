import { rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../../../src/nix/signature.ts';
import { RealRegistry } from '../../../support/real-registry.ts';
import { startCli } from '../../run-cli.ts';
import { type NixCli, openNixCli } from '../nix-cli.ts';

const key = generateKey('test-1');
let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

describe('push', () => {
  const keyFile = async (): Promise<string> => {
    const file = join(cli.nix.dir, 'key');
    await writeFile(file, key.secret);
    return file;
  };
  const cache = (): string => `oci:${join(cli.nix.dir, 'pushed')}`;

  it('takes paths, links to them and lists of them', async () => {
    const file = join(cli.nix.dir, 'file');
    await writeFile(file, 'pushed');
    const { stdout: path } = await execa('nix-store', ['--add', file], { env: cli.nix.env, extendEnv: false });
    await symlink(path, join(cli.flake, 'result'));
    await symlink('result', join(cli.flake, 'link'));
    const args = ['--to', cache(), '--no-upstream', '--json'];
    const results = [
      await cli.run(['push', './link', ...args, '--name', 'mine']),
      await cli.run(['push', `${path}/inside`, ...args]),
      await cli.run(['push', '-', ...args, '--with-build-deps'], {}, `${path}\n\n ${path}\n`),
    ];
    expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
    const [first, ...others] = results.map(({ stdout }) => JSON.parse(stdout) as { pushed: string[]; cached: object });
    expect(first?.pushed).toEqual([path]);
    for (const other of others) expect(other).toMatchObject({ pushed: [], cached: { paths: [path] } });
  });

  it('takes a store object that is a link for what it is, as do pin, info and copy', async () => {
    const { stdout: target } = await execa('nix-store', ['--add', join(cli.nix.dir, 'file')], {
      ...{ env: cli.nix.env, extendEnv: false },
    });
    const link = join(cli.nix.dir, 'linked');
    await symlink(target, link);
    const { stdout: path } = await execa('nix-store', ['--add', link], { env: cli.nix.env, extendEnv: false });
    await symlink(path, join(cli.flake, 'result-link'));
    const pushed = await cli.run(['push', './result-link', '--to', cache(), '--no-upstream', '--json']);
    expect(JSON.parse(pushed.stdout)).toMatchObject({ pushed: expect.arrayContaining([path]) });
    const info = await cli.run(['info', './result-link', '--from', cache(), '--json']);
    expect(JSON.parse(info.stdout)).toMatchObject({ path });
    const pinned = await cli.run(['pin', 'it', './result-link', '--cache', cache(), '--json']);
    expect(JSON.parse(pinned.stdout)).toMatchObject({ path });
    const copied = await cli.run(['copy', cache(), `${cache()}-copy`, './result-link', '--json']);
    expect(JSON.parse(copied.stdout)).toMatchObject({ copied: { paths: expect.any(Number) } });
    expect((await cli.run(['info', path, '--from', `${cache()}-copy`])).exitCode).toBe(0);
  });

  it('reaches a registry, and serve reads it from there', async () => {
    const registry = await RealRegistry.start();
    onTestFinished(() => registry.stop());
    const reference = `${registry.host}/Team/cache`;
    const pushed = await cli.run(['push', './link', '--to', reference, '--no-upstream', '--key-file', await keyFile()]);
    expect(pushed).toMatchObject({ exitCode: 0, stdout: '' });
    expect(pushed.stderr).toContain(`published 1 path to ${registry.host}/team/cache in `);
    await using server = await startCli(['serve', '--from', reference, '--port', '0', '--no-upstream'], {
      env: cli.nix.env,
    });
    const status = await fetch(`${server.firstLine}/public-key`);
    expect(await status.text()).toContain(key.public);
  });

  it('prints what it would push', async () => {
    const { exitCode, stdout } = await cli.run([
      'push',
      './link',
      '--to',
      `${cache()}-2`,
      '--no-upstream',
      '--dry-run',
    ]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ +PATHS +BYTES\nwould be pushed +1 +120 B\n(?:.*\n)*\/nix\/store\/\S+-file +120 B$/);
  });

  it('names what cannot be published and exits with 5, whether anything else was or not', async () => {
    const [kept = '', gone = ''] = await Promise.all(
      ['kept', 'gone'].map(async (name) => {
        await writeFile(join(cli.nix.dir, name), name);
        const { stdout } = await execa('nix-store', ['--add', join(cli.nix.dir, name)], {
          ...{ env: cli.nix.env, extendEnv: false },
        });
        return stdout;
      }),
    );
    await rm(join(cli.nix.realStoreDir, basename(gone)));
    const args = ['--to', `${cache()}-partly`, '--no-upstream', '--json'];
    const none = await cli.run(['push', gone, ...args]);
    expect(none).toMatchObject({ exitCode: 5, stderr: expect.stringContaining(gone) });
    const some = await cli.run(['push', gone, kept, ...args]);
    expect(some).toMatchObject({ exitCode: 5, stderr: expect.stringContaining(gone) });
    expect(JSON.parse(some.stdout)).toMatchObject({ pushed: [kept] });
  });

  it('names what is no store path, and wants one thing of standard input', async () => {
    const none = await cli.run(['push', '-', '--to', cache()], {}, '/nonsense\n');
    expect(none).toMatchObject({ exitCode: 2, stdout: '' });
    expect(none.stderr).toContain('push /nonsense: it is no store path');
    const twice = await cli.run(['push', '-', '/x']);
    expect(twice).toMatchObject({ exitCode: 2 });
    expect(twice.stderr).toContain("'-' stands alone");
    const empty = await cli.run(['push', '-', '--to', cache()], {}, '\n');
    expect(empty).toMatchObject({ exitCode: 2, stdout: '' });
    expect(empty.stderr).toContain('there are no paths on standard input');
    const both = await cli.run(['push', '-', '--username', 'me', '--password-stdin'], {}, 'x\n');
    expect(both.stderr).toContain('set NIXCACHE_PASSWORD instead');
  });
});

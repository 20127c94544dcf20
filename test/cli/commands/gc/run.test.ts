import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type NixCli, openNixCli } from '../nix-cli.ts';

let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

describe('gc', () => {
  const cache = (): string => `oci:${join(cli.nix.dir, 'collected')}`;
  const push = async (name: string): Promise<string> => {
    await writeFile(join(cli.nix.dir, name), name);
    const { stdout } = await execa('nix-store', ['--add', join(cli.nix.dir, name)], {
      env: cli.nix.env,
      extendEnv: false,
    });
    expect(await cli.run(['push', stdout, '--to', cache(), '--no-upstream'])).toMatchObject({ exitCode: 0 });
    return stdout;
  };

  it('tells what it would drop, then drops it', async () => {
    const old = await push('old');
    await delay(2100); // times are whole seconds
    const kept = await push('new');
    const all = await cli.run(['gc', '--cache', cache(), '--json']);
    expect(JSON.parse(all.stdout)).toMatchObject({ dropped: { entries: 0 }, kept: { entries: 2 } });
    const args = ['gc', '--cache', cache(), '--retain', '1s', '--grace', '5m'];
    const would = await cli.run([...args, '--dry-run']);
    expect(would).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(old) });
    expect(would.stdout).not.toContain(kept);
    expect(would.stderr).toMatch(/^warning: a grace period of 300 s is safe only while nothing else writes/m);
    expect(would.stderr).toMatch(/^would delete \d+ manifests?, free \S+ \S+ in \d+ blobs?$/m);
    expect(would.stderr).toMatch(/^would drop 1 path \(.*; kept 1 path /m);
    const did = await cli.run([...args, '--json']);
    expect(JSON.parse(did.stdout)).toMatchObject({ dropped: { entries: 1, paths: [{ path: old }] } });
    expect(did.stderr).toMatch(
      /waits? for the end of the grace period, \d{4}-\d\d-\d\d \d\d:\d\d UTC; run gc again then$/m,
    );
  });
});

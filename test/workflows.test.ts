/** The workflows that users copy. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { planMatrix } from '../src/nix-store/matrix.ts';

const workflow = (name: string): Promise<string> =>
  readFile(fileURLToPath(new URL(`../workflows/${name}.yml`, import.meta.url)), 'utf8');

describe('gc.yml', () => {
  it.each([
    [{}, []],
    [{ RETAIN: '', DRY_RUN: '' }, []],
    [{ RETAIN: '2w', DRY_RUN: '1' }, ['--retain', '2w', '--dry-run']],
    [{ RETAIN: '2w; date' }, ['--retain', '2w; date']],
  ])('leaves to nixcache.toml how long publishes are kept, unless somebody says it: %j', async (env, flags) => {
    const [, line = ''] = /run: (node nixcache-tool\/bin\/nixcache\.js gc.*)$/m.exec(await workflow('gc')) ?? [];
    const script = `node() { shift 2; printf '%s\\n' "$@"; }; ${line}`;
    const { stdout } = await execa('bash', ['-e', '-c', script], { env });
    expect(stdout.split('\n').filter((word) => word !== '')).toEqual(flags);
  });

  it('asks for nothing in a scheduled run', async () => {
    expect(await workflow('gc')).toMatch(/RETAIN: \$\{\{ inputs\.retain \}\}\n/);
  });
});

it('publish.yml has no job for a flake with nothing to build', async () => {
  const nothing = JSON.stringify(planMatrix({ outputs: [], failures: [] }).matrix);
  expect(await workflow('publish')).toContain(`    if: needs.matrix.outputs.matrix != '${nothing}'\n`);
});

it.each(['gc', 'publish'])('%s.yml runs once at a time, and stops no run that is under way', async (name) => {
  expect(await workflow(name)).toMatch(/^concurrency:\n {2}group: nixcache-\S+( .*)?\n {2}cancel-in-progress: false$/m);
});

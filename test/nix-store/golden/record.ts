/** Records this directory's texts from every Nix of nix-versions.ts: `node test/nix-store/golden/record.ts`, as root. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createNixEnv } from '../../support/nix-env.ts';
import { NIX_VERSIONS, requireNix } from '../../support/nix-versions.ts';

const MISSING = '/nix/store/00000000000000000000000000000000-missing';

for (const nix of NIX_VERSIONS) {
  requireNix(nix);
  const nixEnv = await createNixEnv({ bin: nix.bin });
  const run = (program: string, ...args: readonly string[]) =>
    spawnSync(program, args, { env: nixEnv.env, cwd: nixEnv.dir, encoding: 'utf8' });
  const version = /[\d.]+/.exec(run('nix', '--version').stdout)?.[0] ?? 'unknown';
  const record = (name: string, text: string): void =>
    writeFileSync(join(import.meta.dirname, `${name}-${version}.txt`), text);
  const format = run('nix', 'path-info', '--json', '--json-format', '1', MISSING).status === 0;
  const json = format ? ['--json', '--json-format', '1'] : ['--json'];

  copyFileSync(join(import.meta.dirname, 'golden.nix'), join(nixEnv.dir, 'golden.nix'));
  const drvs = run('nix-instantiate', 'golden.nix').stdout.replaceAll(/!.*/g, '').trim().split('\n');
  const roots = ['--add-root', join(nixEnv.dir, 'root-')];
  const options = ['--keep-going', '--log-format', 'internal-json', '-v', ...roots];
  record('build', run('nix-store', '--realise', ...options, ...drvs).stderr);
  const app = run('nix-build', '--no-out-link', '-A', 'app', 'golden.nix').stdout.trim();
  run('nix-store', '--generate-binary-cache-key', 'golden-1', join(nixEnv.dir, 'sk'), join(nixEnv.dir, 'pk'));
  run('nix', 'store', 'sign', '--key-file', join(nixEnv.dir, 'sk'), app);
  record('path-info', run('nix', 'path-info', ...json, '--recursive', '--offline', app).stdout);
  record('path-info-missing', run('nix', 'path-info', ...json, '--offline', MISSING).stdout);
  await nixEnv.cleanup();
}

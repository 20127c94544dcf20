/** Stores that are not the usual one: a daemon that does not trust its user, and those that are not on this machine. */
import { chmod, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/nix/signature.ts';
import { nixcache } from '../support/e2e-cli.ts';
import { writeFlake } from '../support/e2e-nix.ts';
import { createNixEnv } from '../support/nix-env.ts';

const BIN = join(import.meta.dirname, '../../bin/nixcache.js');
/** `nobody` on Debian, whom no daemon trusts. */
const NOBODY = 65534;

it('a daemon that does not trust the user builds for him, with a warning once there is a cache to build from', async () => {
  const nix = await createNixEnv({ shape: 'own-store-dir', config: ['trusted-users = root'] });
  const home = join(nix.dir, 'nobody');
  await mkdir(home);
  await chmod(nix.dir, 0o755);
  await chmod(join(nix.dir, 'tmp'), 0o777);
  const flake = await writeFlake(join(home, 'flake'), '{ a = run "a" "echo a > $out"; b = run "b" "echo b > $out"; }');
  await chown(home, NOBODY, NOBODY);
  const socket = join(nix.dir, 'socket');
  const env = { ...nix.env, NIX_REMOTE: 'local', NIX_DAEMON_SOCKET_PATH: socket };
  const daemon = execa('nix-daemon', [], { env, extendEnv: false, reject: false });
  onTestFinished(async () => {
    daemon.kill('SIGTERM');
    await daemon;
    await nix.cleanup();
  });
  const asNobody = { HOME: home, XDG_CACHE_HOME: join(home, 'cache'), NIX_SIGNING_KEY: generateKey('k-1').secret };
  const publish = (only: string) => {
    const args = ['publish', `path:${flake}`, '--only', only, '--to', `oci:${join(home, 'oci')}`, '--no-upstream'];
    return execa(
      'setpriv',
      [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', process.execPath, BIN, ...args],
      {
        ...{
          env: { ...nix.env, ...asNobody, NIX_REMOTE: `unix://${socket}` },
          extendEnv: false,
          reject: false,
          cwd: '/',
        },
      },
    );
  };
  await expect
    .poll(
      () =>
        execa('nix', ['store', 'ping', '--store', `unix://${socket}`], { env, extendEnv: false, reject: false }).then(
          ({ exitCode }) => exitCode,
        ),
      { timeout: 20_000 },
    )
    .toBe(0);
  const first = await publish('**.a');
  expect([first.exitCode, first.stderr]).toEqual([0, expect.not.stringContaining('does not trust')]);
  const second = await publish('**.b');
  expect([second.exitCode, second.stderr]).toEqual([
    0,
    expect.stringMatching(/the Nix daemon does not trust \S+, so builds do not substitute .*extra-trusted-users/),
  ]);
});

it.each(['https://cache.nixos.org', 'ssh-ng://host'])(
  'the store %s is refused, since its bytes are elsewhere',
  async (url) => {
    const nix = await createNixEnv();
    onTestFinished(() => nix.cleanup());
    const flake = await writeFlake(join(nix.dir, 'flake'), '{ }');
    const args = ['publish', flake, '--to', `oci:${join(nix.dir, 'cache')}`];
    const { exitCode, stderr } = await nixcache(args, { env: { ...nix.env, NIX_REMOTE: url } });
    expect([exitCode, stderr]).toEqual([
      2,
      expect.stringMatching(/which is not on this machine's disks; unset NIX_REMOTE/),
    ]);
  },
);

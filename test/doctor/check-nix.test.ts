import { chmod, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkNix, judgeBuildUsers, judgeTrust, usesSubstituter } from '../../src/doctor/check-nix.ts';
import { parsePublicKey } from '../../src/nix/signature.ts';
import { NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';
import { ours, theirs } from './signed-cache.ts';

const settings = (values: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> =>
  new Map(Object.entries(values));
const serveUrl = 'http://127.0.0.1:37515';

describe('the doctor, of what Nix trusts', () => {
  const keys = [parsePublicKey(ours.public)];

  it.each([
    ['uses and trusts it', { substituters: [serveUrl], 'trusted-public-keys': [ours.public] }, 'ok'],
    [
      'names it localhost',
      { substituters: ['http://localhost:37515/?priority=3'], 'trusted-public-keys': [ours.public] },
      'ok',
    ],
    ['asks for no signatures', { substituters: [serveUrl], 'require-sigs': false }, 'ok'],
    ['uses it without its key', { substituters: [serveUrl], 'trusted-public-keys': [theirs.public] }, 'problem'],
    [
      'uses other caches',
      { substituters: ['https://cache.nixos.org'], 'trusted-public-keys': [ours.public] },
      'warning',
    ],
    ['writes lists as text', { substituters: `https://x ${serveUrl}`, 'trusted-public-keys': ours.public }, 'ok'],
  ])('judges a Nix that %s', (_, values, verdict) => {
    expect(judgeTrust({ settings: settings(values), publicKeys: keys, serveUrl })).toMatchObject({
      check: 'trust',
      verdict,
    });
  });

  it('gives the lines for nix.conf', () => {
    expect(judgeTrust({ settings: settings({}), publicKeys: keys, serveUrl }).fix).toBe(
      `add to nix.conf: extra-substituters = ${serveUrl} and extra-trusted-public-keys = ${ours.public}`,
    );
  });

  it('knows no Nix that is not there', async () => {
    const { settings: none, findings } = await checkNix(
      new NixCommand({ env: { PATH: '/nonexistent', HOME: '/nonexistent' } }),
    );
    if (none === undefined)
      expect(findings).toMatchObject([{ check: 'nix', verdict: 'problem', fix: expect.stringContaining('nixos.org') }]);
    else expect(findings[0]?.message).toMatch(/^Nix 2\./); // found in one of the usual places
    expect(usesSubstituter(undefined, serveUrl)).toBe(false);
    expect(judgeTrust({ settings: undefined, publicKeys: keys, serveUrl }).verdict).toBe('skipped');
  });
});

it('the doctor, of a Nix that is too old, says so, and what its settings are all the same', async () => {
  const bin = await tempDir();
  const script = '#!/bin/sh\ncase "$*" in *--version*) echo "nix (Nix) 2.7.9";; *) echo "{}";; esac\n';
  await writeFile(join(bin, 'nix'), script);
  await chmod(join(bin, 'nix'), 0o755);
  const { settings: read, findings } = await checkNix(new NixCommand({ env: { PATH: `${bin}:/bin`, HOME: bin } }));
  expect(findings).toMatchObject([{ check: 'nix', verdict: 'problem', message: 'Nix 2.7 is too old' }]);
  expect(read?.size).toBe(0);
});

describe('the doctor, of a daemon', () => {
  /** A Nix whose `store ping --json` answers with `json`; one that cannot is an old one. */
  async function nixWith(
    json: string | undefined,
    trustedUsers: readonly string[],
    more: { readonly settings?: Readonly<Record<string, unknown>>; readonly getent?: string } = {},
  ): Promise<NixCommand> {
    const bin = await tempDir();
    const values = { 'trusted-users': trustedUsers, store: 'daemon', ...more.settings };
    const config = JSON.stringify(Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }])));
    const ping = json === undefined ? 'exit 1' : `echo '${json}'`;
    const script = `#!/bin/sh
case "$*" in
  *--version*) echo "nix (Nix) 2.26.3";;
  *"store ping --json"*) ${ping};;
  *"store ping"*) echo "Store URL: daemon" >&2;;
  *validity*) ;;
  *) echo '${config}';;
esac
`;
    for (const name of ['nix', 'nix-store']) {
      await writeFile(join(bin, name), script);
      await chmod(join(bin, name), 0o755);
    }
    await writeFile(join(bin, 'getent'), `#!/bin/sh\n${more.getent ?? 'exit 2'}\n`);
    await chmod(join(bin, 'getent'), 0o755);
    return new NixCommand({ env: { PATH: `${bin}:/bin`, HOME: bin, NIX_STORE_DIR: bin } });
  }
  const me = userInfo().username;

  it.each([
    ['trusts us', '{"url":"daemon","trusted":1}', [], 'ok'],
    ['does not', '{"url":"daemon","trusted":0}', [], 'warning'],
    ['says so otherwise', '{"url":"unix:///run/x","trusted":false}', ['*'], 'warning'],
    ['does not say, and lists us', '{"url":"daemon","trusted":null}', ['root', me], 'ok'],
    ['does not say, and lists others', '{"url":"daemon"}', ['somebody-else', '@no-such-group'], 'warning'],
    ['is old, and lists everyone', undefined, ['*'], 'ok'],
    ['is old, and lists others', undefined, ['somebody-else'], 'warning'],
  ])('that %s', async (_, json, users, verdict) => {
    const { findings } = await checkNix(await nixWith(json, users));
    const found = findings.find(({ check }) => check === 'daemon');
    expect(found).toMatchObject({ verdict });
    if (verdict === 'warning') expect(found?.fix).toContain(`extra-trusted-users = ${me}`);
  });

  const GROUP = 'echo nixbld:x:30000:nixbld1,nixbld2';
  const USERS = 'echo nixbld1:x:30001:30000::/:/bin/false; echo nixbld2:x:30002:30000::/:/bin/false';
  it.each([
    ['without the group', 'exit 2', "the group 'nixbld', which build-users-group names, does not exist"],
    ['without members', 'echo nixbld:x:30000:', "the group 'nixbld', which build-users-group names, has no members"],
    [
      'without one of them',
      `case $1 in group) ${GROUP};; *) ${USERS.slice(0, USERS.indexOf(';'))}; exit 2;; esac`,
      "the user 'nixbld2' in the group 'nixbld' does not exist",
    ],
  ])('that builds as members of a group, %s, says how to make them', async (_, getent, fault) => {
    const settings = { 'build-users-group': 'nixbld' };
    const { findings } = await checkNix(await nixWith('{"url":"daemon","trusted":1}', [], { settings, getent }));
    expect(findings.find(({ check }) => check === 'builders')).toEqual({
      ...{ check: 'builders', verdict: 'warning', message: `${fault}: Nix cannot build anything` },
      fix: expect.stringMatching(/groupadd -r nixbld; .*useradd .*nixbld\$n; .*build-users-group =/),
    });
  });

  it.each([
    [
      'has them',
      { 'build-users-group': 'nixbld' },
      [{ verdict: 'ok', message: 'builds run as the 2 members of nixbld' }],
    ],
    ['needs none', { 'build-users-group': '' }, []],
    ['makes them up', { 'build-users-group': 'nixbld', 'auto-allocate-uids': true }, []],
  ])('that %s', async (_, settings, expected) => {
    const getent = `case $1 in group) ${GROUP};; *) ${USERS};; esac`;
    const { findings } = await checkNix(await nixWith('{"url":"daemon","trusted":1}', [], { settings, getent }));
    expect(findings.filter(({ check }) => check === 'builders')).toMatchObject(expected);
  });

  it.each([
    ['root without a daemon cannot build', { isRoot: true, hasDaemon: false }, ['problem']],
    ['a daemon may be configured otherwise', { isRoot: false, hasDaemon: true }, ['warning']],
    ['who is not root builds as himself', { isRoot: false, hasDaemon: false }, []],
  ])('%s', (_, who, verdicts) => {
    const found = judgeBuildUsers({ group: 'nixbld', users: [], fault: 'it is not there' }, who);
    expect(found.map(({ verdict }) => verdict)).toEqual(verdicts);
  });

  it('says nothing where there is none', async () => {
    const { findings } = await checkNix(await nixWith('{"url":"local"}', []));
    expect(findings.map(({ check }) => check)).not.toContain('daemon');
  });
});

it.each(['experimental-features = flakes nix-command', 'experimental-features = nix-command'])(
  'the doctor goes by the names of features, where their JSON has numbers: %s',
  async (line) => {
    const bin = await tempDir();
    const script = `#!/bin/sh
case "$*" in
  --extra*--version) echo "nix (Nix) 2.8.1";;
  --extra*--json*) echo '{"experimental-features":{"value":[2,3]},"system":{"value":"x86_64-linux"},"store":{"value":"auto"}}';;
  show-config) echo "${line}";;
  *) echo "{}";;
esac
`;
    await writeFile(join(bin, 'nix'), script);
    await chmod(join(bin, 'nix'), 0o755);
    const command = new NixCommand({ env: { PATH: `${bin}:/bin:/usr/bin`, HOME: bin } });
    expect(await command.configuredFeatures()).toEqual(line.split(' = ')[1]?.split(' '));
  },
);

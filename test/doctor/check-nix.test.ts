import { chmod, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkNix, judgeTrust, usesSubstituter } from '../../src/doctor/check-nix.ts';
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
  async function nixWith(json: string | undefined, trustedUsers: readonly string[]): Promise<NixCommand> {
    const bin = await tempDir();
    const config = JSON.stringify({ 'trusted-users': { value: trustedUsers }, store: { value: 'daemon' } });
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

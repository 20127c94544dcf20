/** What `verify` is told. */
import { NixcacheError } from '../errors.ts';
import { COMPRESSION } from './publish-settings.ts';
import { TRUSTED_KEYS } from './serve-settings.ts';
import { given, NO_CONFIG, resolveAll, type SettingTable, type Sources, type Values } from './setting.ts';
import { SWITCH } from './setting-types.ts';
import { SIGNING_KEYS } from './signing-keys.ts';
import { UPSTREAMS } from './upstreams.ts';

const group = 'Repair:';

export const VERIFY = {
  contents: {
    ...{ type: SWITCH, flag: '--contents' },
    help: 'read every NAR, and compare it with its hashes and its listing',
  },
  upstreams: {
    ...{ ...UPSTREAMS, help: 'closures may rest on this cache' },
    no: 'every closure has to be whole in the cache itself',
  },
  trustedPublicKeys: {
    ...{ ...TRUSTED_KEYS, note: 'default: the keys that the cache names' },
    help: 'every entry must be signed by such a key, as name:base64',
  },
  repair: {
    ...{ type: SWITCH, flag: '--repair', group },
    help: 'bring back what is lost, from the local Nix store, else from an upstream; drop what nothing heals, with all that refers to it',
  },
  dryRun: { type: SWITCH, flag: '--dry-run', help: 'print what a repair would do, and change nothing', group },
  dropIncomplete: {
    ...{ type: SWITCH, flag: '--drop-incomplete', group },
    help: 'drop also what refers to a path that is nowhere',
  },
  /** Of what a repair pushes. */
  signingKeys: { ...SIGNING_KEYS, help: 'sign what is pushed with this secret key', group },
  /** As what is published, and with no flag of its own. */
  compression: { type: COMPRESSION.type, key: COMPRESSION.key, default: COMPRESSION.default },
} as const satisfies SettingTable;

export type VerifySettings = Values<typeof VERIFY>;

/** @throws {NixcacheError} ERR_USAGE */
export function verifySettings(sources: Sources): VerifySettings {
  const settings = resolveAll(VERIFY, sources);
  for (const name of ['dryRun', 'dropIncomplete'] as const) {
    if (settings.repair || !settings[name]) continue;
    throw new NixcacheError('ERR_USAGE', `${VERIFY[name].flag} is of use only with --repair`);
  }
  // A variable or the config file may name a key for other commands.
  const signs = given(VERIFY.signingKeys, { ...sources, env: {}, config: NO_CONFIG });
  if (signs !== undefined && !settings.repair)
    throw new NixcacheError('ERR_USAGE', `${signs.from} is of use only with --repair`);
  return settings;
}

/** Where `key generate` writes. */
import type { SettingTable } from './setting.ts';
import { PATH } from './setting-types.ts';

export const GENERATE = {
  /** None: the keys' own directory, outside of any flake: what lies beside one is copied to the store with it. */
  outDirectory: {
    ...{ type: PATH, flag: '--out-dir <dir>', help: 'where the two files go' },
    note: 'default: $XDG_CONFIG_HOME/nixcache/keys',
  },
} as const satisfies SettingTable;

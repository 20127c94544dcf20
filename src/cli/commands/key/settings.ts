/** Where `key generate` writes. */
import type { SettingTable } from '../../../config/setting.ts';
import { PATH } from '../../../config/setting-types.ts';

export const GENERATE = {
  outDirectory: { type: PATH, flag: '--out-dir <dir>', default: '.', help: 'where the two files go' },
} as const satisfies SettingTable;

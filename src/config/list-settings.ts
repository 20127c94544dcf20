/** Which part of a cache `list` shows. */
import type { SettingTable } from './setting.ts';
import { SWITCH } from './setting-types.ts';

export const LIST = {
  roots: { type: SWITCH, flag: '--roots', help: 'only the roots', conflicts: ['pins', 'entries'] },
  pins: { type: SWITCH, flag: '--pins', help: 'only the pins', conflicts: ['roots', 'entries'] },
  entries: { type: SWITCH, flag: '--entries', help: 'every store path with its size', conflicts: ['roots', 'pins'] },
} as const satisfies SettingTable;

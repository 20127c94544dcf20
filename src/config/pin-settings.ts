/** What `pin` does other than setting a pin. */
import type { SettingTable } from './setting.ts';
import { SWITCH, TEXT } from './setting-types.ts';

export const PIN = {
  list: { type: SWITCH, flag: '--list', help: 'show all pins', conflicts: ['remove', 'history'] },
  remove: { type: TEXT, flag: '--remove <name>', help: 'remove a pin', conflicts: ['list', 'history'] },
  history: { type: TEXT, flag: '--history <name>', help: 'show what a pin stood for', conflicts: ['list', 'remove'] },
} as const satisfies SettingTable;

/** What every command is told of its output, and of where its settings are. */
import type { SettingTable } from './setting.ts';
import { SWITCH, TEXT } from './setting-types.ts';

const group = 'Output options:';

export const OUTPUT = {
  json: { type: SWITCH, flag: '--json', help: 'print the result as JSON', group },
  quiet: { type: SWITCH, flag: '-q, --quiet', help: 'print nothing but the result, warnings and errors', group },
  verbose: {
    ...{ type: SWITCH, flag: '-v, --verbose', help: 'tell more of what is done, and the causes of errors', group },
  },
  config: {
    ...{ type: TEXT, flag: '--config <file>', help: 'config file', group },
    note: 'default: ./nixcache.toml, else ~/.config/nixcache/config.toml',
  },
} as const satisfies SettingTable;

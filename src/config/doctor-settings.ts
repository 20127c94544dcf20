/** What `doctor` is told of the other parts, each of which has settings of its own. */
import { INDEX_DIRECTORY } from './cache-reference.ts';
import { ADDRESS } from './serve-settings.ts';
import type { SettingTable } from './setting.ts';
import { SIGNING_KEYS } from './signing-keys.ts';
import { UPSTREAMS } from './upstreams.ts';

export const DOCTOR = {
  port: { ...ADDRESS.port, help: 'port of nixcache serve' },
  listen: { ...ADDRESS.listen, help: 'address of nixcache serve' },
  signingKeys: { ...SIGNING_KEYS, help: 'secret key that signs here' },
  upstreams: { ...UPSTREAMS, help: 'other cache in use', no: 'no other cache is in use' },
  indexDirectory: INDEX_DIRECTORY,
} as const satisfies SettingTable;

/** What `doctor` is told of the other parts, each of which has settings of its own. */
import { INDEX_DIRECTORY } from '../../../config/cache-reference.ts';
import { ADDRESS } from '../../../config/serve-settings.ts';
import type { SettingTable } from '../../../config/setting.ts';
import { SIGNING_KEYS } from '../../../config/signing-keys.ts';
import { UPSTREAMS } from '../../../config/upstreams.ts';

export const DOCTOR = {
  port: { ...ADDRESS.port, help: 'port of nixcache serve' },
  listen: { ...ADDRESS.listen, help: 'address of nixcache serve' },
  signingKeys: { ...SIGNING_KEYS, help: 'secret key that signs here' },
  upstreams: { ...UPSTREAMS, help: 'other cache in use', no: 'no other cache is in use' },
  indexDirectory: INDEX_DIRECTORY,
} as const satisfies SettingTable;

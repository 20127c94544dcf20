/** Flags of `serve` that would change nothing: whoever writes one on the command line expects that it does. */
import { NixcacheError } from '../errors.ts';
import { CACHE, type CacheSetting } from './cache-reference.ts';
import { SERVE, type ServeSettings, UNIX_SOCKET } from './serve-settings.ts';
import { type Flags, flagNames } from './setting.ts';

interface Served {
  readonly cache: CacheSetting;
  readonly settings: ServeSettings;
}

/** Only flags: variables and files may be for other commands, or for another day. @throws {NixcacheError} ERR_USAGE */
export function assertNoIdleFlag(flags: Flags, caches: readonly [Served, ...Served[]]): void {
  const [{ settings }] = caches;
  const { listen, readTokenFile, uploadTokenFile } = settings;
  const isUnix = listen.startsWith(UNIX_SOCKET);
  const hasTokens = readTokenFile !== undefined || uploadTokenFile !== undefined;
  const hasRegistry = caches.some(({ cache }) => cache.reference.kind === 'registry');
  const idle = [
    { setting: SERVE.port, isIdle: isUnix, why: 'a unix socket has no port' },
    { setting: SERVE.socketMode, isIdle: !isUnix, why: 'it is for --listen unix:PATH' },
    { setting: SERVE.uploadDirectory, isIdle: !hasTokens, why: 'nobody may upload without --upload-token-file' },
    { setting: SERVE.redirect, isIdle: !hasRegistry, why: 'there is no registry to send clients to' },
    { setting: CACHE.plainHttp, isIdle: !hasRegistry, why: 'there is no registry to speak with' },
  ];
  for (const { setting, isIdle, why } of idle) {
    const { name, attribute } = flagNames(setting.flag);
    const value = flags[attribute];
    if (!isIdle || value === undefined || value === false) continue;
    throw new NixcacheError('ERR_USAGE', `${name} would have no effect, for ${why}: leave it out`);
  }
}

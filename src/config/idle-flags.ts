/** Flags of `serve` that would change nothing: whoever writes one on the command line expects that it does. */
import { NixcacheError } from '../errors.ts';
import { SERVE, type ServeSettings, UNIX_SOCKET } from './serve-settings.ts';
import { type Flags, flagNames } from './setting.ts';

/**
 * Only flags: variables and files may be for other commands, or for another day. Those that ask for what only some caches
 * offer, like --redirect, do no harm elsewhere.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export function assertNoIdleFlag(
  flags: Flags,
  { listen, readTokenFile, uploadTokenFile }: Pick<ServeSettings, 'listen' | 'readTokenFile' | 'uploadTokenFile'>,
): void {
  const hasTokens = readTokenFile !== undefined || uploadTokenFile !== undefined;
  const idle = [
    { setting: SERVE.socketMode, isIdle: !listen.startsWith(UNIX_SOCKET), why: 'it is for --listen unix:PATH' },
    { setting: SERVE.uploadDirectory, isIdle: !hasTokens, why: 'nobody may upload without --upload-token-file' },
  ];
  for (const { setting, isIdle, why } of idle) {
    const { name, attribute } = flagNames(setting.flag);
    const value = flags[attribute];
    if (!isIdle || value === undefined) continue;
    throw new NixcacheError('ERR_USAGE', `${name} would have no effect, for ${why}: leave it out`);
  }
}

/**
 * Whether Nix's daemon trusts this user. It ignores substituters and keys that anyone else names, in silence as far as a
 * build is concerned. NixOS/nix src/nix/ping-store.cc, src/libstore/daemon.cc, src/nix-daemon (trusted-users).
 */
import { userInfo } from 'node:os';
import * as z from 'zod/mini';
import type { CallOptions } from '../call-options.ts';
import { readIfAny } from '../regular-file.ts';
import type { NixCommand, NixSettings } from './nix-command.ts';

export interface Trust {
  readonly isTrusted: boolean;
  /** Name of this user; a number where it has none. */
  readonly user: string;
}

/** `trusted` since 2.15, when the daemon is of such a version too: 0, 1 or false, true. */
const PingJson = z.object({ url: z.string(), trusted: z.optional(z.nullable(z.union([z.boolean(), z.number()]))) });

/** Undefined without a daemon, and when it cannot be told. @throws {NixcacheError} ERR_INTERRUPTED */
export async function daemonTrust(command: NixCommand, options: CallOptions = {}): Promise<Trust | undefined> {
  const [ping, settings] = await Promise.all([pingStore(command, options), command.settings(options)]);
  if (ping === undefined || !/^(daemon|unix:\/\/|ssh)/.test(ping.url)) return undefined;
  const user = userName();
  if (ping.trusted !== undefined && ping.trusted !== null) return { isTrusted: Boolean(ping.trusted), user };
  return { isTrusted: isListed(user, await groupNames(), settings), user };
}

async function pingStore(command: NixCommand, options: CallOptions): Promise<z.infer<typeof PingJson> | undefined> {
  const { exitCode, stdout } = await command.run('nix', ['store', 'ping', '--json'], options);
  const parsed = exitCode === 0 ? PingJson.safeParse(parseLenient(stdout)) : undefined;
  if (parsed?.success) return parsed.data;
  const plain = await command.run('nix', ['store', 'ping'], options);
  const url = [...plain.stderrLines, plain.stdout].join('\n').match(/Store URL: (\S+)/)?.[1];
  return plain.exitCode === 0 && url !== undefined ? { url } : undefined;
}

/** What to do about it, for people. */
export const trustRemedy = (user: string): string =>
  `add 'extra-trusted-users = ${user}' to /etc/nix/nix.conf and restart the Nix daemon, or have root name the cache there: extra-substituters and extra-trusted-public-keys`;

function isListed(user: string, groups: readonly string[], settings: NixSettings): boolean {
  const value = settings.get('trusted-users');
  const users = Array.isArray(value) ? value.map(String) : typeof value === 'string' ? value.split(/\s+/) : ['root'];
  return users.some(
    (name) => name === '*' || name === user || (name.startsWith('@') && groups.includes(name.slice(1))),
  );
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown'); // no entry in passwd
  }
}

async function groupNames(): Promise<readonly string[]> {
  const own = new Set((process.getgroups?.() ?? []).map(String));
  const text = (await readIfAny('/etc/group')) ?? '';
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .flatMap(([name = '', , gid = '']) => (own.has(gid) ? [name] : []));
}

function parseLenient(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

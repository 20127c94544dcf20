/**
 * The accounts as which Nix builds where it runs as root, itself or as the daemon: the members of `build-users-group`.
 * A Nix from a distribution's package, or in a container, may come without them. NixOS/nix src/libstore/lock.cc
 * (SimpleUserLock), src/libstore/local-store.cc.
 */
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import { readIfAny } from '../regular-file.ts';
import type { NixCommand, NixSettings } from './nix-command.ts';

export interface BuildUsers {
  readonly group: string;
  /** As many builds at once at most. */
  readonly users: readonly string[];
  /** Why none of these builds can start. */
  readonly fault?: string | undefined;
}

/** Undefined where Nix builds as whoever calls it, and where it cannot be told. @throws {NixcacheError} ERR_INTERRUPTED */
export async function queryBuildUsers(
  command: NixCommand,
  settings: NixSettings,
  options: CallOptions = {},
): Promise<BuildUsers | undefined> {
  const group = settings.get('build-users-group');
  if (typeof group !== 'string' || group === '' || settings.get('auto-allocate-uids') === true) return undefined;
  const groups = await lookUp(command, 'group', [group], options);
  if (groups === undefined) return undefined;
  const members = groups.get(group)?.[3];
  const fault = (what: string): BuildUsers => ({ group, users: [], fault: what });
  if (members === undefined) return fault(`the group '${group}', which build-users-group names, does not exist`);
  const users = members.split(',').filter((name) => name !== '');
  if (users.length === 0) return fault(`the group '${group}', which build-users-group names, has no members`);
  const known = await lookUp(command, 'passwd', users, options);
  const unknown = users.find((user) => known?.has(user) === false);
  if (unknown !== undefined) return fault(`the user '${unknown}' in the group '${group}' does not exist`);
  return { group, users };
}

/** How to make the accounts, for people. */
export const buildUsersRemedy = (group: string): string =>
  `as root: groupadd -r ${group}; for n in 1 2 3 4 5 6 7 8 9 10; do useradd -r -M -N -g ${group} -G ${group} -s /usr/sbin/nologin ${group}$n; done; ` +
  "or, in a container that nobody else uses, 'build-users-group =' in /etc/nix/nix.conf, and builds run as root";

/** Entries of `database` by name, as far as they are among `names`: from wherever this machine has accounts, else out of /etc. */
async function lookUp(
  command: NixCommand,
  database: 'group' | 'passwd',
  names: readonly string[],
  options: CallOptions,
): Promise<ReadonlyMap<string, readonly string[]> | undefined> {
  const text = (await getent(command, [database, ...names], options)) ?? (await readIfThere(`/etc/${database}`));
  if (text === undefined) return undefined;
  const entries = text.split('\n').map((line) => line.split(':'));
  return new Map(entries.map((fields) => [fields[0] ?? '', fields]));
}

/** Some of what was asked for is not there. */
const NOT_FOUND = 2;

/** Undefined where there is no such program, as on macOS. */
async function getent(command: NixCommand, args: readonly string[], options: CallOptions): Promise<string | undefined> {
  try {
    const { exitCode, stdout } = await command.run('getent', args, options);
    return exitCode === 0 || exitCode === NOT_FOUND ? stdout : undefined;
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_NIX')) throw error;
    return undefined;
  }
}

/** On macOS it is there, and has not the accounts. */
const readIfThere = (file: string): Promise<string | undefined> =>
  process.platform === 'darwin' ? Promise.resolve(undefined) : readIfAny(file);

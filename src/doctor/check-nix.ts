/** The Nix of this machine: there, usable, and told to trust the cache. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isNixcacheError, messageOf } from '../errors.ts';
import { ioError } from '../io-error.ts';
import type { PublicKey } from '../nix/signature.ts';
import { parseBaseName, toStorePath } from '../nix/store-path.ts';
import { type BuildUsers, buildUsersRemedy, queryBuildUsers } from '../nix-store/build-users.ts';
import { openLocalStore } from '../nix-store/local-store.ts';
import { atLeast, type NixCommand, type NixSettings } from '../nix-store/nix-command.ts';
import { daemonTrust, type Trust, trustRemedy } from '../nix-store/trust.ts';
import { within } from './deadline.ts';
import { type Finding, ok, problem, skipped, warning } from './finding.ts';

export interface NixFindings {
  /** Undefined when there is no usable Nix. */
  readonly settings: NixSettings | undefined;
  readonly findings: readonly Finding[];
}

const INSTALL =
  'install Nix from https://nixos.org/download, version 2.8 or later; nixcache serve alone runs without it';
/** Nix takes a moment to start from a cold disk. */
const NIX_TIMEOUT_MS = 6000;
const NO_SUCH_PATH = parseBaseName(`${'0'.repeat(32)}-nixcache-doctor`);

export async function checkNix(command: NixCommand, signal?: AbortSignal): Promise<NixFindings> {
  let settings: NixSettings | undefined;
  try {
    return await within(NIX_TIMEOUT_MS, 'ask Nix', signal, async (limit) => {
      const options = { signal: limit };
      const [version, read] = await Promise.all([command.version(options), command.settings(options)]);
      settings = read;
      const name = `Nix ${version.major}.${version.minor}`;
      if (!atLeast(version, 2, 8)) return { settings, findings: [problem('nix', `${name} is too old`, INSTALL)] };
      const [storeDir, features, trust, buildUsers] = await Promise.all([
        readStore(command, limit),
        command.configuredFeatures(options),
        daemonTrust(command, options),
        queryBuildUsers(command, read, options),
      ]);
      const findings = [
        ok('nix', `${name} with the store ${storeDir}`),
        judgeFeatures(features),
        ...(trust === undefined ? [] : [judgeUser(trust)]),
        ...judgeBuildUsers(buildUsers, { isRoot: process.getuid?.() === 0, hasDaemon: trust !== undefined }),
      ];
      return { settings, findings };
    });
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    const fix = settings === undefined ? INSTALL : 'see what Nix itself says: nix doctor';
    return { settings, findings: [problem('nix', messageOf(error), fix)] };
  }
}

/** Its store directory, once its database has answered and its files are found readable. @throws {NixcacheError} */
async function readStore(command: NixCommand, signal: AbortSignal): Promise<string> {
  const store = await openLocalStore({ command, signal });
  const path = toStorePath(NO_SUCH_PATH, store.storeDir);
  await store.queryValidPaths([path], { signal }); // asks the database, or the daemon; makes a store that is not there yet
  const directory = dirname(store.contentPath(path));
  try {
    await access(directory, constants.R_OK);
  } catch (cause) {
    throw ioError('read the Nix store', directory, cause);
  }
  return store.storeDir;
}

function judgeFeatures(on: readonly string[]): Finding {
  // Without nix-command, Nix does not tell of others.
  const lacking = ['nix-command', 'flakes'].filter((feature) => !on.includes(feature));
  if (lacking.length === 0) return ok('features', 'flakes are on');
  return ok(
    'features',
    `${lacking.join(' and ')} ${lacking.length === 1 ? 'is' : 'are'} not on in nix.conf; nixcache turns on what it needs`,
  );
}

function judgeUser({ isTrusted, user }: Trust): Finding {
  if (isTrusted) return ok('daemon', `the Nix daemon trusts ${user}`);
  const message = `the Nix daemon does not trust ${user}: it ignores substituters and keys that this user names, so publish may build what the cache has`;
  return warning('daemon', message, trustRemedy(user));
}

/** The daemon builds with its own configuration, which is mostly this one; who is not root builds as himself. */
export function judgeBuildUsers(
  buildUsers: BuildUsers | undefined,
  { isRoot, hasDaemon }: { readonly isRoot: boolean; readonly hasDaemon: boolean },
): readonly Finding[] {
  if (buildUsers === undefined || !(isRoot || hasDaemon)) return [];
  const { group, users, fault } = buildUsers;
  if (fault === undefined) return [ok('builders', `builds run as the ${users.length} members of ${group}`)];
  const judge = hasDaemon ? warning : problem;
  return [judge('builders', `${fault}: Nix cannot build anything`, buildUsersRemedy(group))];
}

export interface TrustOptions {
  readonly settings: NixSettings | undefined;
  /** Of the cache. */
  readonly publicKeys: readonly PublicKey[];
  /** Where Nix should find the cache. */
  readonly serveUrl: string;
}

/** Whether this Nix would use the cache, and believe it. */
export function judgeTrust({ settings, publicKeys, serveUrl }: TrustOptions): Finding {
  if (settings === undefined) return skipped('trust', 'there is no usable Nix');
  const isUsed = usesSubstituter(settings, serveUrl);
  const trusted = new Set(words(settings.get('trusted-public-keys')));
  const missing = publicKeys.filter(({ text }) => !trusted.has(text)).map(({ text }) => text);
  const lines = [
    ...(isUsed ? [] : [`extra-substituters = ${serveUrl}`]),
    ...(missing.length === 0 ? [] : [`extra-trusted-public-keys = ${missing.join(' ')}`]),
  ];
  const fix = `add to nix.conf: ${lines.join(' and ')}`;
  if (!isUsed) return warning('trust', `Nix does not substitute from ${serveUrl}`, fix);
  if (settings.get('require-sigs') === false)
    return ok('trust', 'Nix uses the cache, and asks for no signatures (require-sigs = false)');
  if (publicKeys.length === 0) {
    return warning(
      'trust',
      `Nix substitutes from ${serveUrl}, whose cache names no key: it refuses what is unsigned`,
      'sign what is published: nixcache key generate NAME',
    );
  }
  if (missing.length === publicKeys.length) {
    return problem(
      'trust',
      `Nix substitutes from ${serveUrl}, but trusts none of the cache's keys: it refuses all of it`,
      fix,
    );
  }
  if (missing.length > 0)
    return warning('trust', `Nix trusts only some of the cache's keys, not ${missing.join(' ')}`, fix);
  return ok('trust', 'Nix uses the cache and trusts its keys');
}

/** Whether Nix is told to substitute from `url`; loopback has several names. */
export function usesSubstituter(settings: NixSettings | undefined, url: string): boolean {
  return words(settings?.get('substituters')).some((substituter) => plain(substituter) === plain(url));
}

const plain = (url: string): string =>
  url
    .replace(/\?.*$/, '')
    .replace(/\/+$/, '')
    .replace(/\/\/(?:localhost|\[::1\])(?=[:/]|$)/, '//127.0.0.1');

/** Nix prints lists as such since 2.4, and as one text where they are not. */
const words = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.map(String) : typeof value === 'string' ? value.split(/\s+/) : [];

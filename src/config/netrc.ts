/**
 * Logins that Nix has for binary caches: the file that `netrc-file` in its settings names, read as curl does. Found without
 * Nix, which need not be there. NixOS/nix src/libstore/filetransfer.cc, src/libutil/configuration.cc
 */
import { dirname, join, resolve } from 'node:path';
import { configHome, type Environment, orWithoutHome, variable } from '../environment.ts';
import { basicAuthorization } from '../http/basic-authorization.ts';
import { readRegularSync } from '../regular-file.ts';

interface WhichLogin {
  /** Of this user alone. */
  readonly username?: string | undefined;
  /** Whether what the file has for every host will do; default true. */
  readonly byDefault?: boolean | undefined;
}

/** The Authorization header for a URL; undefined when the file has none for its host, or cannot be read. */
type NetrcLogins = (url: string, which?: WhichLogin) => string | undefined;

/** Reads the file when it is first asked, and once. */
export function netrcLogins(env: Environment): NetrcLogins {
  let text: string | undefined;
  return (url, which) => {
    const { protocol = '', hostname = '' } = URL.parse(url) ?? {};
    if (hostname === '' || !/^https?:$/.test(protocol)) return undefined;
    text ??= readNetrc(env);
    const login = findLogin(text, hostname.replace(/^\[(.*)\]$/, '$1'), which);
    if (login === undefined) return undefined;
    return basicAuthorization({ username: login.login, password: login.password });
  };
}

function readNetrc(env: Environment): string {
  const confDir = variable(env, 'NIX_CONF_DIR') ?? '/etc/nix';
  return read(netrcFile(confDir, env) ?? join(confDir, 'netrc')) ?? '';
}

/** What the settings say last. */
function netrcFile(confDir: string, env: Environment): string | undefined {
  const own = orWithoutHome(env, () => join(configHome(env), 'nix', 'nix.conf'));
  const users = variable(env, 'NIX_USER_CONF_FILES')?.split(':').toReversed() ?? (own === undefined ? [] : [own]);
  const found = [join(confDir, 'nix.conf'), ...users].flatMap((file) => settingIn(read(file) ?? '', dirname(file), 0));
  return [...found, ...settingIn(env['NIX_CONFIG'] ?? '', confDir, 0)].at(-1);
}

/** Files that name each other in a circle. */
const MAX_INCLUDES = 8;

function settingIn(text: string, directory: string, depth: number): string[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', ...rest] = line.replace(/#.*$/, '').trim().split(/\s+/);
    if (name === 'netrc-file' && rest[0] === '=' && rest[1] !== undefined) return [resolve(directory, rest[1])];
    if (!/^!?include$/.test(name) || rest[0] === undefined || depth === MAX_INCLUDES) return [];
    const file = resolve(directory, rest[0]);
    return settingIn(read(file) ?? '', dirname(file), depth + 1);
  });
}

interface Login {
  readonly login: string;
  readonly password: string;
}

/** The first entry for `host`, or before that one for every host, that is as wanted. */
export function findLogin(
  text: string,
  host: string,
  { username, byDefault = true }: WhichLogin = {},
): Login | undefined {
  const plain = text.replaceAll(/^\s*#.*$/gm, '').replaceAll(/^\s*macdef\b[\s\S]*?(?:\n\s*\n|$(?![\s\S]))/gm, '');
  const words = [...plain.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, bare]) => quoted?.replaceAll(/\\(.)/g, '$1') ?? bare ?? '',
  );
  let isMeant = false;
  let login = '';
  let password: string | undefined;
  const isWanted = (): boolean => isMeant && password !== undefined && (username === undefined || login === username);
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    if (word === 'machine' || word === 'default') {
      if (isWanted()) break;
      [login, password] = ['', undefined];
      isMeant = word === 'default' ? byDefault : words[++at]?.toLowerCase() === host.toLowerCase();
    } else if (word === 'login' || word === 'password' || word === 'account') {
      const value = words[++at] ?? '';
      if (isMeant && word === 'login') login = value;
      if (isMeant && word === 'password') password = value;
    }
  }
  return password !== undefined && isWanted() ? { login, password } : undefined;
}

/** 1 MiB: a line for each machine. */
const MAX_BYTES = 1024 * 1024;

/** A file that is not there, or for root alone, is as good as an empty one: so does Nix. */
function read(path: string): string | undefined {
  try {
    return readRegularSync(path, { links: 'followed', maxBytes: MAX_BYTES }).toString('utf8');
  } catch {
    return undefined;
  }
}

/**
 * Logins that Nix has for binary caches: the file that `netrc-file` in its settings names, read as curl does. Found without
 * Nix, which need not be there. NixOS/nix src/libstore/filetransfer.cc, src/libutil/configuration.cc
 */
import { dirname, join, resolve } from 'node:path';
import { configHome, type Environment, orWithoutHome, variable } from '../environment.ts';
import { basicAuthorization } from '../http/basic-authorization.ts';
import { readRegularSync } from '../regular-file.ts';

/** The Authorization header for `url`; undefined when the file has none for its host, or cannot be read. */
export function netrcAuthorization(url: string, env: Environment): string | undefined {
  const host = URL.parse(url)?.hostname;
  if (!host || !/^https?:/.test(url)) return undefined;
  const confDir = variable(env, 'NIX_CONF_DIR') ?? '/etc/nix';
  const text = read(netrcFile(confDir, env) ?? join(confDir, 'netrc'));
  const login = text === undefined ? undefined : findLogin(text, host);
  if (login === undefined) return undefined;
  return basicAuthorization({ username: login.login, password: login.password });
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

/** The first entry for `host`, or before that one for every host. */
export function findLogin(text: string, host: string): Login | undefined {
  const plain = text.replaceAll(/^\s*#.*$/gm, '').replaceAll(/^\s*macdef\b[\s\S]*?(?:\n\s*\n|$(?![\s\S]))/gm, '');
  const words = [...plain.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, bare]) => quoted?.replaceAll(/\\(.)/g, '$1') ?? bare ?? '',
  );
  let isMeant = false;
  let login = '';
  let password: string | undefined;
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    if (word === 'machine' || word === 'default') {
      if (isMeant && password !== undefined) break;
      isMeant = word === 'default' || words[++at]?.toLowerCase() === host.toLowerCase();
    } else if (word === 'login' || word === 'password' || word === 'account') {
      const value = words[++at] ?? '';
      if (isMeant && word === 'login') login = value;
      if (isMeant && word === 'password') password = value;
    }
  }
  return password === undefined ? undefined : { login, password };
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

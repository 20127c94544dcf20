/** Finds and reads the config file: `--config FILE`, else ./nixcache.toml, else the user's own. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { absolutePath, configHome, type Environment } from '../environment.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { type LoadedConfig, NO_CONFIG } from './setting.ts';

export interface ConfigLocation {
  /** `--config`: must exist. */
  readonly file: string | undefined;
  readonly cwd: string;
  readonly env: Environment;
}

/** Config files hold a few hundred bytes; what is longer is another file. */
const MAX_BYTES = 1024 * 1024;

/** @throws {NixcacheError} ERR_USAGE, naming the file, the key and what is allowed */
export async function loadConfig(location: ConfigLocation): Promise<LoadedConfig> {
  if (location.file !== undefined) {
    const file = absolutePath(location.file, location);
    const text = await readIfThere(file);
    if (text === undefined) throw new NixcacheError('ERR_USAGE', `read configuration ${file}: there is no such file`);
    return parseConfig(text, file);
  }
  for (const file of [join(location.cwd, 'nixcache.toml'), join(configHome(location.env), 'nixcache', 'config.toml')]) {
    const text = await readIfThere(file);
    if (text !== undefined) return parseConfig(text, file);
  }
  return NO_CONFIG;
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    const bytes = await readFile(file);
    if (bytes.length > MAX_BYTES) throw new Error('it is longer than 1 MiB; is it a config file?');
    return bytes.toString('utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new NixcacheError('ERR_USAGE', `read configuration ${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** The parsers are loaded only when there is a file to read: without one every command starts sooner. */
export async function parseConfig(text: string, file: string): Promise<LoadedConfig> {
  const [{ parse, TomlError }, { faultsOf }] = await Promise.all([import('smol-toml'), import('./config-file.ts')]);
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '');
    throw new NixcacheError('ERR_USAGE', `read configuration ${file}, line ${error.line}: not TOML: ${reason}`, {
      cause: error,
    });
  }
  const faults = faultsOf(document);
  if (faults.length > 0) throw new NixcacheError('ERR_USAGE', `read configuration ${file}: ${faults.join('; ')}`);
  return { file, directory: dirname(file), settings: document as LoadedConfig['settings'] };
}

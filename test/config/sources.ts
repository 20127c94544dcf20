/** Sources for resolvers: nothing given but what a test gives. */
import { parseConfig } from '../../src/config/load.ts';
import { NO_CONFIG, type Sources } from '../../src/config/resolve.ts';

export const CONFIG_FILE = '/etc/nixcache/nixcache.toml';

export interface Given<Flags> {
  readonly flags?: Flags;
  readonly env?: Readonly<Record<string, string>>;
  /** TOML. */
  readonly config?: string;
}

export async function sources<Flags extends object>(given: Given<Flags>): Promise<Sources<Flags>> {
  return {
    flags: given.flags ?? ({} as Flags),
    env: { HOME: '/home/me', ...given.env },
    config: given.config === undefined ? NO_CONFIG : await parseConfig(given.config, CONFIG_FILE),
    cwd: '/work',
  };
}

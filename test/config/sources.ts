/** Sources for resolvers: nothing given but what a test gives. */
import { parseConfig } from '../../src/config/load.ts';
import { type Flags, NO_CONFIG, type Sources } from '../../src/config/setting.ts';

const CONFIG_FILE = '/etc/nixcache/nixcache.toml';

export interface Given {
  readonly flags?: Flags;
  readonly env?: Readonly<Record<string, string>>;
  /** TOML. */
  readonly config?: string;
}

export async function sources({ flags = {}, env, config }: Given): Promise<Sources> {
  return {
    flags,
    env: { HOME: '/home/me', ...env },
    config: config === undefined ? NO_CONFIG : await parseConfig(config, CONFIG_FILE),
    cwd: '/work',
  };
}

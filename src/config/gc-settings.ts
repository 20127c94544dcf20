/** What `gc` is told, made into plain values. */
import { parseDuration } from './duration.ts';
import { resolveRetention } from './publish-settings.ts';
import { fromConfig, fromFlag, parseInteger, pick, read, type Sources } from './resolve.ts';

export interface GcFlags {
  readonly retain?: string | undefined;
  readonly grace?: string | undefined;
  readonly keepLast?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface GcSettings {
  readonly retainSeconds: number;
  readonly graceSeconds: number;
  /** Publishes to keep of each root name, however old; undefined: by age alone. */
  readonly keepLast: number | undefined;
  readonly dryRun: boolean;
}

const DEFAULT_GRACE = '24h';
const MAX_KEEP = 100_000;

/** @throws {NixcacheError} ERR_USAGE */
export function gcSettings(sources: Sources<GcFlags>): GcSettings {
  const { flags, config } = sources;
  const { grace: configuredGrace, keep_last: configuredKeep } = config.settings.gc ?? {};
  const grace = pick(fromFlag('--grace', flags.grace), fromConfig(config, 'gc.grace', configuredGrace));
  const keep = pick<string | number>(
    fromFlag('--keep-last', flags.keepLast),
    fromConfig(config, 'gc.keep_last', configuredKeep),
  );
  return {
    retainSeconds: resolveRetention(sources),
    graceSeconds: read(grace ?? { value: DEFAULT_GRACE, from: 'the default' }, (text) => parseDuration(text)),
    keepLast:
      keep === undefined ? undefined : read(keep, (value) => parseInteger(value, 0, MAX_KEEP, 'a number of publishes')),
    dryRun: flags.dryRun ?? false,
  };
}

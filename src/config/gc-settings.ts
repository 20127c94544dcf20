/** What `gc` is told, and `info`, which says what gc would do. */
import { RETAIN } from './publish-settings.ts';
import { resolve, resolveAll, type SettingTable, type Sources, type Values } from './setting.ts';
import { DURATION, integer, SWITCH } from './setting-types.ts';

export const GC = {
  retainSeconds: {
    ...{ ...RETAIN, flag: '--retain <duration>' },
    help: 'how long publishes are kept, like 30d, 12h or 2w',
  },
  /** Undefined: by age alone. */
  keepLast: {
    ...{ type: integer(0, 100_000, 'a number of publishes'), flag: '--keep-last <n>', key: 'gc.keep_last' },
    help: 'keep the last publishes of each root, however old',
  },
  graceSeconds: {
    ...{ type: DURATION, flag: '--grace <duration>', key: 'gc.grace', default: '24h' },
    help: 'how long replaced objects stay for running publishers and readers',
  },
  dryRun: { type: SWITCH, flag: '--dry-run', help: 'print what would be dropped, and drop nothing' },
} as const satisfies SettingTable;

/** What decides whether gc keeps something. */
export const RETENTION = {
  retainSeconds: { ...GC.retainSeconds, help: 'the retention that gc is run with, like 30d' },
  keepLast: { ...GC.keepLast, help: 'the --keep-last that gc is run with' },
} as const satisfies SettingTable;

/** As far as somebody configured it: what is not, the last gc may have said. @throws {NixcacheError} ERR_USAGE */
export function configuredRetention(sources: Sources): {
  retainSeconds: number | undefined;
  keepLast: number | undefined;
} {
  const { type, key } = RETAIN;
  return { retainSeconds: resolve({ type, key }, sources), keepLast: resolve(GC.keepLast, sources) };
}

export type GcSettings = Values<typeof GC>;

/** @throws {NixcacheError} ERR_USAGE */
export const gcSettings = (sources: Sources): GcSettings => resolveAll(GC, sources);

/** What a gc did or would do, for people, for scripts and for GitHub. */
import type { GcReport } from '../../../gc/report.ts';
import { toStorePath } from '../../../nix/store-path.ts';
import { formatBytes, formatCount } from '../../../quantity.ts';
import { pinJson, reasonJson, rootJson } from '../../json.ts';
import { formatTime } from '../../ui/format.ts';
import { escapeMarkdown } from '../../ui/markdown.ts';
import type { Output } from '../../ui/output.ts';
import { formatTable } from '../../ui/table.ts';

/** `--dry-run` on stdout: each path that would go. */
export function formatDropped({ dropped }: GcReport, width: number | undefined): string {
  if (dropped.paths.length === 0) return '';
  return formatTable(
    ['WOULD BE DROPPED', 'BYTES', 'LAST PUSHED'],
    dropped.paths.map(({ path, bytes, lastPushed }) => [
      path,
      formatBytes(bytes),
      lastPushed.toISOString().slice(0, 10),
    ]),
    { width, right: [1] },
  );
}

/** The report, its records as all commands show them. */
export const gcJson = ({ roots, keptBecause, pins, ...report }: GcReport, storeDir: string): object => ({
  ...report,
  roots: {
    kept: roots.kept.map((root) => rootJson(root, storeDir)),
    expired: roots.expired.map((root) => rootJson(root, storeDir)),
  },
  keptBecause: keptBecause.map(({ path, reason }) => ({
    path: toStorePath(path, storeDir),
    reason: reasonJson(reason),
  })),
  pins: pins.map((pin) => pinJson(pin, storeDir)),
});

const amount = ({ entries, bytes }: { readonly entries: number; readonly bytes: number }): string =>
  `${formatCount(entries, 'path')} (${formatBytes(bytes)})`;

const REASONS = {
  pinned: 'pinned',
  'newest-publish': 'of newest publishes',
  published: 'published within the retention',
  'keep-last': 'by --keep-last',
  pushed: 'pushed within the retention',
} as const satisfies Record<GcReport['keptBecause'][number]['reason']['kind'], string>;

/** `2 roots pinned, 1 root of newest publishes`; undefined without roots. */
function formatWhyKept(kept: GcReport['keptBecause']): string | undefined {
  const counts = Map.groupBy(kept, ({ reason }) => reason.kind);
  const parts = [...counts].map(([kind, roots]) => `${formatCount(roots.length, 'root')} ${REASONS[kind]}`);
  return parts.length === 0 ? undefined : parts.join(', ');
}

/** What waits, and what was left, as lines; for people who must come back or act. */
function leftovers({ waiting, notFreed }: GcReport): { readonly waits: string[]; readonly failures: string[] } {
  const end = waiting.until === undefined ? '' : `, ${formatTime(waiting.until)}`;
  const verb = waiting.manifests === 1 ? 'waits' : 'wait';
  const waits = `${formatCount(waiting.manifests, 'manifest')} ${verb} for the end of the grace period${end}; run gc again then`;
  return {
    waits: waiting.manifests > 0 ? [waits] : [],
    failures: notFreed.map(
      ({ reason, tags }) => `${formatCount(tags.length, 'manifest')} could not be deleted: ${reason}`,
    ),
  };
}

/** The end of the story. What could not be freed is a warning: it costs storage until someone acts. */
export function tellGc(report: GcReport, cache: string, output: Output): void {
  const { kept, dropped, dryRun, freed, deletedManifests } = report;
  output.info(`${dryRun ? 'would drop' : 'dropped'} ${amount(dropped)} from ${cache}; kept ${amount(kept)}`);
  const why = formatWhyKept(report.keptBecause);
  if (why !== undefined) output.info(`kept for ${why}`);
  const swept =
    freed === undefined
      ? ''
      : `, ${dryRun ? 'free' : 'freed'} ${formatBytes(freed.bytes)} in ${formatCount(freed.blobs, 'blob')}`;
  output.info(`${dryRun ? 'would delete' : 'deleted'} ${formatCount(deletedManifests, 'manifest')}${swept}`);
  const { waits, failures } = leftovers(report);
  for (const line of waits) output.info(line);
  for (const line of failures) output.warn(line);
}

/** For GITHUB_OUTPUT. */
export const gcOutputs = ({ kept, dropped, deletedManifests }: GcReport): Readonly<Record<string, string>> => ({
  kept: String(kept.entries),
  dropped: String(dropped.entries),
  'dropped-bytes': String(dropped.bytes),
  'deleted-manifests': String(deletedManifests),
});

/** For GITHUB_STEP_SUMMARY. */
export function gcMarkdown(report: GcReport, cache: string): string {
  const { kept, dropped, dryRun, deletedManifests } = report;
  const { waits, failures } = leftovers(report);
  const why = formatWhyKept(report.keptBecause);
  return [
    `### nixcache gc: ${cache}${dryRun ? ' (dry run)' : ''}`,
    '',
    '| | Paths | Bytes |',
    '|---|---:|---:|',
    `| kept | ${kept.entries} | ${formatBytes(kept.bytes)} |`,
    `| ${dryRun ? 'would be dropped' : 'dropped'} | ${dropped.entries} | ${formatBytes(dropped.bytes)} |`,
    '',
    `${formatCount(deletedManifests, 'manifest')} ${dryRun ? 'would be ' : ''}deleted.`,
    ...(why === undefined ? [] : ['', `Kept for ${why}.`]),
    ...waits.flatMap((line) => ['', line]),
    ...failures.flatMap((line) => ['', `**${escapeMarkdown(line)}**`]),
  ].join('\n');
}

/** What a gc did or would do, for people and for GitHub. The JSON is the report itself. */
import type { GcReport } from '../gc/report.ts';
import { formatBytes, formatCount, formatTable } from './format.ts';
import type { Output } from './output.ts';

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

const amount = ({ entries, bytes }: { readonly entries: number; readonly bytes: number }): string =>
  `${formatCount(entries, 'path')} (${formatBytes(bytes)})`;

/** The end of the story. What could not be freed is a warning: it costs storage until someone acts. */
export function tellGc(report: GcReport, cache: string, output: Output): void {
  const { kept, dropped, dryRun, freed, waiting, notFreed, deletedManifests } = report;
  output.info(`${dryRun ? 'would drop' : 'dropped'} ${amount(dropped)} from ${cache}; kept ${amount(kept)}`);
  const swept = freed === undefined ? '' : `, freed ${formatBytes(freed.bytes)} in ${formatCount(freed.blobs, 'blob')}`;
  output.info(`${dryRun ? 'would delete' : 'deleted'} ${formatCount(deletedManifests, 'manifest')}${swept}`);
  if (waiting.manifests > 0) {
    const until = waiting.until === undefined ? '' : ` until ${waiting.until.toISOString()}`;
    output.info(
      `${formatCount(waiting.manifests, 'manifest')} wait for the grace period to end${until}; run gc again then`,
    );
  }
  for (const { reason, tags } of notFreed) {
    output.warn(`${formatCount(tags.length, 'manifest')} could not be deleted: ${reason}`);
  }
}

/** For GITHUB_OUTPUT. */
export const gcOutputs = ({ kept, dropped, deletedManifests }: GcReport): Readonly<Record<string, string>> => ({
  kept: String(kept.entries),
  dropped: String(dropped.entries),
  'dropped-bytes': String(dropped.bytes),
  'deleted-manifests': String(deletedManifests),
});

/** For GITHUB_STEP_SUMMARY. */
export const gcMarkdown = ({ kept, dropped, dryRun, deletedManifests }: GcReport, cache: string): string =>
  [
    `### nixcache gc: ${cache}${dryRun ? ' (dry run)' : ''}`,
    '',
    '| | Paths | Bytes |',
    '|---|---:|---:|',
    `| kept | ${kept.entries} | ${formatBytes(kept.bytes)} |`,
    `| ${dryRun ? 'would be dropped' : 'dropped'} | ${dropped.entries} | ${formatBytes(dropped.bytes)} |`,
    '',
    `${formatCount(deletedManifests, 'manifest')} ${dryRun ? 'would be ' : ''}deleted.`,
  ].join('\n');

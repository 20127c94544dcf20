/** What a copy did, or would do. */
import type { CopyReport } from '../../../copy/copy-options.ts';
import { formatBytes, formatCount } from '../../ui/format.ts';
import { formatTable } from '../../ui/table.ts';

/** `--dry-run` on stdout. */
export const formatCopyPlan = ({ copied, existed, refused }: CopyReport): string =>
  formatTable(
    ['', 'PATHS', 'BYTES'],
    [
      ['would be copied', copied.paths.toLocaleString('en-US'), formatBytes(copied.bytes)],
      ['at the destination', existed.paths.toLocaleString('en-US'), ''],
      ['left out', refused.length.toLocaleString('en-US'), ''],
    ],
    { right: [1, 2] },
  );

/** The end of the story, line by line. */
export function copySummary(report: CopyReport): readonly string[] {
  const { destination, dryRun, copied, existed, uploadedBytes, refused, absent } = report;
  const lines = dryRun
    ? ['dry run: nothing was copied']
    : [
        `copied ${formatCount(copied.paths, 'path')} to ${destination} (${formatBytes(uploadedBytes)} sent); ${existed.paths} were there already`,
      ];
  if (absent > 0) {
    lines.push(`${formatCount(absent, 'reference')} not in the source: clients need another cache that has them`);
  }
  if (refused.length > 0) lines.push(`${formatCount(refused.length, 'path')} left out`);
  return lines;
}

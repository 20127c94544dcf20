/** Tells what a copy does, and what it did. */
import type { CopyReport } from '../../../copy/copy-options.ts';
import type { CopyEvent, CopyStage } from '../../../copy/events.ts';
import { formatBytes, formatCount, formatTable } from '../../ui/format.ts';
import type { Output } from '../../ui/output.ts';
import type { ProgressTask } from '../../ui/progress.ts';

const TITLES: Readonly<Record<CopyStage, string>> = {
  read: 'reading what there is',
  copy: 'copying',
  commit: 'committing',
};

export class CopyStory {
  readonly #output: Output;
  #task: ProgressTask | undefined;
  #planned = { paths: 0, bytes: 0 };

  constructor(output: Output) {
    this.#output = output;
  }

  tell(event: CopyEvent): void {
    const output = this.#output;
    switch (event.type) {
      case 'stage':
        this.end('done');
        output.info(TITLES[event.stage]);
        if (event.stage === 'copy' && this.#planned.paths > 0) {
          const { paths, bytes } = this.#planned;
          this.#task = output.startProgress('copy', { totalItems: paths, totalBytes: bytes });
        }
        break;
      case 'looked-up':
        this.#task ??= output.startProgress('narinfo');
        this.#task.reach({ items: event.paths });
        break;
      case 'planned':
        this.end('done');
        this.#planned = event;
        output.info(`to copy: ${formatCount(event.paths, 'path')}, ${formatBytes(event.bytes)}`);
        break;
      case 'uploaded':
        this.#task?.advance({ bytes: event.bytes });
        break;
      case 'committed':
        this.#task?.advance({ items: event.entries });
        output.detail(`committed ${event.tag} with ${formatCount(event.entries, 'entry', 'entries')}`);
        break;
      case 'refused':
        output.warn(`${event.path} is not copied: ${event.reason}`);
        break;
      case 'warning':
        output.warn(event.message);
        break;
    }
  }

  /** Ends what is being drawn. */
  end(outcome: 'done' | 'failed'): void {
    if (outcome === 'done') this.#task?.done();
    else this.#task?.drop();
    this.#task = undefined;
  }
}

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

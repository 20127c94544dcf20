/** What `copy` tells while it runs. */
import type { CopyEvent, CopyStage } from '../../../copy/events.ts';
import { formatBytes, formatCount } from '../../ui/format.ts';
import type { Telling } from '../../ui/story.ts';

const STAGES: Readonly<Record<CopyStage, string>> = {
  read: 'reading what there is',
  copy: 'copying',
  commit: 'committing',
};

export function copyTelling(): Telling<CopyEvent> {
  let planned = { paths: 0, bytes: 0 };
  return {
    stage({ stage }, story) {
      story.stage(STAGES[stage]);
      if (stage !== 'copy' || planned.paths === 0) return;
      story.task('copy', { totalItems: planned.paths, totalBytes: planned.bytes });
    },
    'looked-up': ({ paths }, story) => story.task('narinfo').reach({ items: paths }),
    planned(event, story) {
      story.end();
      planned = event;
      story.output.info(`to copy: ${formatCount(event.paths, 'path')}, ${formatBytes(event.bytes)}`);
    },
    uploaded: ({ bytes }, story) => story.running('copy')?.advance({ bytes }),
    committed({ tag, entries }, story) {
      story.running('copy')?.advance({ items: entries });
      story.output.detail(`committed ${tag} with ${formatCount(entries, 'entry', 'entries')}`);
    },
    refused: ({ path, reason }, { output }) => output.warn(`${path} is not copied: ${reason}`),
    warning: ({ message }, { output }) => output.warn(message),
  };
}

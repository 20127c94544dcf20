/** What `gc` tells while it runs. */
import type { GcEvent, GcStage } from '../../../gc/events.ts';
import { formatCount } from '../../ui/format.ts';
import type { Telling } from '../../ui/story.ts';

const STAGES: Readonly<Record<GcStage, string>> = {
  read: 'reading the cache',
  plan: 'planning',
  write: 'writing what is kept',
  delete: 'deleting what was replaced',
  sweep: 'freeing storage',
};

export const GC_TELLING: Telling<GcEvent> = {
  stage: ({ stage }, story) => story.stage(STAGES[stage]),
  'segment-read': (event, story) => story.reach('read', 'segment', event),
  deleted: (event, story) => story.reach('delete', 'manifest', event),
  'pack-written': ({ bytes }, { output }) => output.detail(`wrote a pack of ${bytes} bytes`),
  'segment-written': ({ tag, entries }, { output }) =>
    output.detail(`wrote ${tag} with ${formatCount(entries, 'entry', 'entries')}`),
  'checkpoint-written': ({ tag }, { output }) => output.detail(`wrote ${tag}: what was dropped is gone for readers`),
  warning: ({ message }, { output }) => output.warn(message),
};

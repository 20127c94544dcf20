/** What `verify` tells while it runs. */
import type { VerifyEvent, VerifyStage } from '../../../verify/events.ts';
import type { Telling } from '../../ui/story.ts';

const STAGES: Readonly<Record<VerifyStage, string>> = {
  read: 'reading the cache',
  blobs: 'looking for blobs',
  closure: 'checking closures',
  contents: 'reading NARs',
  plan: 'planning the repair',
  repair: 'repairing',
  again: 'verifying again',
};

export const VERIFY_TELLING: Telling<VerifyEvent> = {
  stage: ({ stage }, story) => story.stage(STAGES[stage]),
  segments: (event, story) => story.reach('read', 'segment', event),
  blobs: (event, story) => story.reach('look for', 'blob', event),
  upstream: (event, story) => story.reach('upstream', 'path', event),
  'contents-planned': ({ nars, bytes }, story) => {
    story.end();
    story.task('verify', { noun: 'NAR', totalItems: nars, totalBytes: bytes });
  },
  contents: ({ nars, bytes }, story) => story.running('verify')?.advance({ items: nars, bytes }),
  repaired: ({ message }, { output }) => output.info(message),
  warning: ({ message }, { output }) => output.warn(message),
};

/** What `publish` and `push` tell while they run: stages as headings, work as progress. */
import type { BuildEvent } from '../../../nix-store/build-log.ts';
import type { PublishEvent, PublishStage } from '../../../publish/events.ts';
import { formatBytes, formatCount } from '../../ui/format.ts';
import type { Story, Telling } from '../../ui/story.ts';

const STAGES: Readonly<Record<PublishStage, string>> = {
  discover: 'looking for outputs',
  build: 'building',
  closure: 'reading the closure',
  diff: 'asking what is there already',
  push: 'pushing',
  commit: 'committing',
};

export function publishTelling(): Telling<PublishEvent> {
  let planned = { paths: 0, narBytes: 0 };
  return {
    stage({ stage }, story) {
      story.stage(STAGES[stage], { folds: true });
      if (stage === 'build') story.task('build', { noun: 'derivation' });
      if (stage !== 'push' || planned.paths === 0) return;
      story.task('push', { totalItems: planned.paths, totalBytes: planned.narBytes });
    },
    discovered: ({ outputs }, { output }) => output.info(formatCount(outputs.length, 'output')),
    'evaluation-failed': ({ attrPath, error }, { output }) => output.warn(`${attrPath} does not evaluate: ${error}`),
    build: ({ event }, story) => tellBuild(event, story),
    closure: ({ paths, narBytes }, { output }) =>
      output.info(`closure: ${formatCount(paths, 'path')}, ${formatBytes(narBytes)}`),
    'upstream-asked': (event, story) => story.reach('upstream', 'path', event),
    planned(event, { output }) {
      planned = event;
      output.info(`to push: ${formatCount(event.paths, 'path')}, ${formatBytes(event.narBytes)}`);
    },
    'nar-read': ({ bytes }, story) => story.running('push')?.advance({ bytes }),
    'path-done'({ path }, story) {
      story.running('push')?.advance({ items: 1 });
      story.output.detail(`pushed ${path}`);
    },
    uploaded: ({ existed, bytes }, { output }) =>
      output.detail(`${existed ? 'was there' : 'uploaded'}: ${formatBytes(bytes)}`),
    committed: ({ tag, entries }, { output }) =>
      output.detail(`committed ${tag} with ${formatCount(entries, 'entry', 'entries')}`),
    warning: ({ message }, { output }) => output.warn(message),
  };
}

function tellBuild(event: BuildEvent, story: Story<PublishEvent>): void {
  const { output } = story;
  switch (event.type) {
    case 'build-started':
      output.info(`building ${nameOfDerivation(event.drvPath)}`);
      break;
    case 'build-line':
      output.detail(`${nameOfDerivation(event.drvPath)}> ${event.line}`);
      break;
    case 'fetch-started':
      output.detail(`fetching ${event.path} from ${event.from}`);
      break;
    case 'progress':
      story.running('build')?.expect({ items: event.expected });
      story.running('build')?.reach({ items: event.done });
      break;
    case 'build-stopped':
    case 'build-phase':
    case 'fetch-stopped':
    case 'error': // said again, and better, in the report of failures
      break;
  }
}

/** `/nix/store/…-hello-2.12.drv` → `hello-2.12` */
const nameOfDerivation = (drvPath: string): string => drvPath.replace(/^.*\/[^-]*-/, '').replace(/\.drv$/, '');

/** What `publish` and `push` tell while they run: stages as headings, work as progress. */
import { failedBuild } from '../../../nix-store/build-failure.ts';
import type { BuildEvent } from '../../../nix-store/build-log.ts';
import type { PublishEvent, PublishStage } from '../../../publish/events.ts';
import { formatBytes, formatCount } from '../../../quantity.ts';
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
  let closure: number | undefined;
  const builds = new Builds();
  return {
    stage({ stage }, story) {
      story.stage(STAGES[stage], { folds: true });
      if (stage === 'build') story.task('build', { noun: 'derivation', isSteady: false });
      if (stage !== 'push' || planned.paths === 0) return;
      story.task('push', { totalItems: planned.paths, totalBytes: planned.narBytes });
    },
    discovered: ({ outputs }, { output }) => output.info(formatCount(outputs.length, 'output')),
    'evaluation-failed': ({ attrPath, error }, { output }) => output.warn(`${attrPath} does not evaluate: ${error}`),
    building: ({ jobs }) => builds.expect(jobs),
    build: ({ event }, story) => builds.tell(event, story),
    closure({ paths, narBytes, isPart }, { output }) {
      closure = paths;
      const what = isPart ? 'closure of the outputs that the cache lacks' : 'closure';
      if (paths > 0) output.info(`${what}: ${formatCount(paths, 'path')}, ${formatBytes(narBytes)}`);
    },
    'upstream-asked': (event, story) => story.reach('upstream', 'path', event),
    planned(event, { output }) {
      planned = event;
      if (closure === 0) return; // all outputs are cached, or none is there
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

/** Nix's own default is one, which few mean. */
const jobsLine = (jobs: number | 'auto' | undefined): string =>
  jobs === undefined
    ? 'Nix builds as many derivations at once as max-jobs in nix.conf says'
    : jobs === 1
      ? 'Nix builds one derivation at a time (max-jobs = 1; set max-jobs = auto in nix.conf for one a CPU)'
      : `Nix builds up to ${jobs === 'auto' ? 'one derivation a CPU' : `${jobs} derivations`} at once (max-jobs)`;

/** Lines of a log that name a build; after so many they are only counted. */
const MAX_NAMED = 50;
const MAX_SHOWN = 3;

/** What is being built: on a terminal in the line that is redrawn, in a log a line each until there are many. */
class Builds {
  readonly #running = new Set<string>();
  readonly #failed = new Set<string>();
  #named = 0;
  /** To be said once something is built. */
  #jobs: string | undefined;

  expect(jobs: number | 'auto' | undefined): void {
    this.#jobs = jobsLine(jobs);
  }

  tell(event: BuildEvent, story: Story<PublishEvent>): void {
    const { output } = story;
    switch (event.type) {
      case 'build-started':
        if (this.#jobs !== undefined) output.info(this.#jobs);
        this.#jobs = undefined;
        this.#running.add(nameOfDerivation(event.drvPath));
        this.#show(story);
        this.#name(event.drvPath, story);
        break;
      case 'build-stopped':
        this.#running.delete(nameOfDerivation(event.drvPath));
        this.#show(story);
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
      case 'error':
        this.#fail(event.text, story);
        break;
      case 'build-phase':
      case 'fetch-stopped':
        break;
    }
  }

  #show(story: Story<PublishEvent>): void {
    const names = [...this.#running];
    const more = names.length > MAX_SHOWN ? ` and ${names.length - MAX_SHOWN} more` : '';
    story.running('build')?.note(`${names.slice(0, MAX_SHOWN).join(', ')}${more}`);
  }

  #name(drvPath: string, { output }: Story<PublishEvent>): void {
    this.#named += 1;
    const line = `building ${nameOfDerivation(drvPath)}`;
    if (output.isLive || this.#named > MAX_NAMED) output.detail(line);
    else output.info(line);
    if (!output.isLive && this.#named === MAX_NAMED) output.info('further builds are counted; --verbose names each');
  }

  /** At once, and once: the report at the end has the reason and the log. */
  #fail(text: string, { output }: Story<PublishEvent>): void {
    const drvPath = failedBuild(text);
    if (drvPath === undefined || this.#failed.has(drvPath)) return;
    this.#failed.add(drvPath);
    output.info(`failed: ${nameOfDerivation(drvPath)}`);
  }
}

/** `/nix/store/…-hello-2.12.drv` → `hello-2.12` */
const nameOfDerivation = (drvPath: string): string => drvPath.replace(/^.*\/[^-]*-/, '').replace(/\.drv$/, '');

/** Draws what `publish` and `push` tell: stages as headings, work as progress. */
import type { BuildEvent } from '../../../nix-store/build-log.ts';
import type { PublishEvent, PublishStage } from '../../../publish/events.ts';
import { formatBytes, formatCount } from '../../ui/format.ts';
import type { Output } from '../../ui/output.ts';
import type { ProgressTask } from '../../ui/progress.ts';

const TITLES: Readonly<Record<PublishStage, string>> = {
  discover: 'looking for outputs',
  build: 'building',
  closure: 'reading the closure',
  diff: 'asking what is there already',
  push: 'pushing',
  commit: 'committing',
};

export class PublishStory {
  readonly #output: Output;
  #pushing: ProgressTask | undefined;
  #asking: ProgressTask | undefined;
  #building: ProgressTask | undefined;
  #grouped = false;
  #planned: { readonly items: number; readonly bytes: number } = { items: 0, bytes: 0 };

  constructor(output: Output) {
    this.#output = output;
  }

  tell(event: PublishEvent): void {
    const output = this.#output;
    switch (event.type) {
      case 'stage':
        this.#begin(event.stage);
        break;
      case 'discovered':
        output.info(formatCount(event.outputs.length, 'output'));
        break;
      case 'evaluation-failed':
        output.warn(`${event.attrPath} does not evaluate: ${event.error}`);
        break;
      case 'build':
        this.#tellBuild(event.event);
        break;
      case 'closure':
        output.info(`closure: ${formatCount(event.paths, 'path')}, ${formatBytes(event.narBytes)}`);
        break;
      case 'upstream-asked':
        this.#asking ??= output.startProgress('upstream', { totalItems: event.total });
        this.#asking.reach({ items: event.done });
        break;
      case 'planned':
        this.#planned = { items: event.paths, bytes: event.narBytes };
        output.info(`to push: ${formatCount(event.paths, 'path')}, ${formatBytes(event.narBytes)}`);
        break;
      case 'nar-read':
        this.#pushing?.advance({ bytes: event.bytes });
        break;
      case 'path-done':
        this.#pushing?.advance({ items: 1 });
        output.detail(`pushed ${event.path}`);
        break;
      case 'uploaded':
        output.detail(`${event.existed ? 'was there' : 'uploaded'}: ${formatBytes(event.bytes)}`);
        break;
      case 'committed':
        output.detail(`committed ${event.tag} with ${formatCount(event.entries, 'entry', 'entries')}`);
        break;
      case 'warning':
        output.warn(event.message);
        break;
    }
  }

  #tellBuild(event: BuildEvent): void {
    const output = this.#output;
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
        this.#building?.expect({ items: event.expected });
        this.#building?.reach({ items: event.done });
        break;
      case 'build-stopped':
      case 'build-phase':
      case 'fetch-stopped':
      case 'error': // said again, and better, in the report of failures
        break;
    }
  }

  /** Ends what is being drawn: `done` says how it went, otherwise an error follows that does. */
  end(outcome: 'done' | 'failed'): void {
    for (const task of [this.#asking, this.#building, this.#pushing]) {
      if (outcome === 'done') task?.done();
      else task?.drop();
    }
    this.#asking = undefined;
    this.#building = undefined;
    this.#pushing = undefined;
    if (this.#grouped) this.#output.endGroup();
    this.#grouped = false;
  }

  #begin(stage: PublishStage): void {
    this.end('done');
    this.#output.group(TITLES[stage]);
    this.#grouped = true;
    if (stage === 'build') this.#building = this.#output.startProgress('build', { noun: 'derivation' });
    if (stage !== 'push' || this.#planned.items === 0) return;
    const { items, bytes } = this.#planned;
    this.#pushing = this.#output.startProgress('push', { totalItems: items, totalBytes: bytes });
  }
}

/** `/nix/store/…-hello-2.12.drv` → `hello-2.12` */
const nameOfDerivation = (drvPath: string): string => drvPath.replace(/^.*\/[^-]*-/, '').replace(/\.drv$/, '');

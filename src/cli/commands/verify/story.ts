/** Draws what `verify` tells: stages as lines, work as progress. */
import type { VerifyEvent, VerifyStage } from '../../../verify/events.ts';
import type { Output } from '../../ui/output.ts';
import type { ProgressTask } from '../../ui/progress.ts';

const TITLES: Readonly<Record<VerifyStage, string>> = {
  read: 'reading the cache',
  blobs: 'looking for blobs',
  closure: 'checking closures',
  contents: 'reading NARs',
  plan: 'planning the repair',
  repair: 'repairing',
  again: 'verifying again',
};

export class VerifyStory {
  readonly #output: Output;
  #task: ProgressTask | undefined;

  constructor(output: Output) {
    this.#output = output;
  }

  tell(event: VerifyEvent): void {
    const output = this.#output;
    switch (event.type) {
      case 'stage':
        this.end();
        output.info(TITLES[event.stage]);
        break;
      case 'segments':
        this.#reach('read', 'segment', event);
        break;
      case 'blobs':
        this.#reach('look for', 'blob', event);
        break;
      case 'upstream':
        this.#reach('upstream', 'path', event);
        break;
      case 'contents-planned':
        this.end();
        this.#task = output.startProgress('verify', { noun: 'NAR', totalItems: event.nars, totalBytes: event.bytes });
        break;
      case 'contents':
        this.#task?.advance({ items: event.nars, bytes: event.bytes });
        break;
      case 'repaired':
        output.info(event.message);
        break;
      case 'warning':
        output.warn(event.message);
        break;
    }
  }

  end(): void {
    this.#task?.done();
    this.#task = undefined;
  }

  drop(): void {
    this.#task?.drop();
    this.#task = undefined;
  }

  #reach(title: string, noun: string, { done, total }: { readonly done: number; readonly total: number }): void {
    this.#task ??= this.#output.startProgress(title, { noun, totalItems: total });
    this.#task.reach({ items: done });
  }
}

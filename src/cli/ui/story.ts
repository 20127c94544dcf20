/** What long work tells while it runs: a table says for each type of event what becomes of it. */
import type { Output } from './output.ts';
import type { ProgressOptions, ProgressTask } from './progress.ts';

interface Told {
  readonly type: string;
}

/** For each type of event, what is told of it. One that is missing does not compile. */
export type Telling<Event extends Told> = {
  readonly [Type in Event['type']]: (event: Extract<Event, { readonly type: Type }>, story: Story<Event>) => void;
};

/** Told with `tell`, ended with `end`. What is still drawn when it is disposed of ends without a word: an error follows. */
export class Story<Event extends Told> implements Disposable {
  readonly output: Output;
  readonly #telling: Telling<Event>;
  readonly #tasks = new Map<string, ProgressTask>();
  #grouped = false;

  constructor(output: Output, telling: Telling<Event>) {
    this.output = output;
    this.#telling = telling;
  }

  tell(event: Event): void {
    // The compiler cannot follow that the entry for this type takes events of this type.
    const telling = this.#telling as unknown as Readonly<Record<string, (event: Event, story: Story<Event>) => void>>;
    telling[event.type]?.(event, this);
  }

  /** Begins a stage with a line, or with a heading that GitHub folds; what was drawn of the one before is done. */
  stage(title: string, options: { readonly folds?: boolean } = {}): void {
    this.end();
    if (options.folds) this.output.group(title);
    else this.output.info(title);
    this.#grouped = options.folds ?? false;
  }

  /** The task called `title`; begun if it is not there. */
  task(title: string, options: ProgressOptions = {}): ProgressTask {
    const task = this.#tasks.get(title) ?? this.output.startProgress(title, options);
    this.#tasks.set(title, task);
    return task;
  }

  /** How far the task called `title` is. */
  reach(title: string, noun: string, { done, total }: { readonly done: number; readonly total: number }): void {
    this.task(title, { noun, totalItems: total }).reach({ items: done });
  }

  /** The same as `task`, for those who have nothing to begin it with: undefined until somebody did. */
  running(title: string): ProgressTask | undefined {
    return this.#tasks.get(title);
  }

  /** Ends all that is being drawn, with a line each. */
  end(): void {
    this.#close((task) => task.done());
  }

  /** Ends all that is being drawn without a word. */
  drop(): void {
    this.#close((task) => task.drop());
  }

  [Symbol.dispose](): void {
    this.drop();
  }

  #close(close: (task: ProgressTask) => void): void {
    for (const task of this.#tasks.values()) close(task);
    this.#tasks.clear();
    if (this.#grouped) this.output.endGroup();
    this.#grouped = false;
  }
}

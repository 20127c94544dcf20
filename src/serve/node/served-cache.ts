/** One of the caches of a server: its app, and what keeps its index fresh. */
import { App } from '../app.ts';
import type { Measure } from '../measure.ts';
import type { ServeOptions } from '../serve-options.ts';
import type { Handler } from './in-turn.ts';
import { listenerOf } from './listener.ts';
import { RefreshTimer } from './refresh-timer.ts';
import type { Watch } from './watch.ts';

/** What a server may be told anew while it runs. */
export type CacheChanges = Omit<ServeOptions, 'reader' | 'onEvent'>;

export class ServedCache {
  readonly prefix: string;
  readonly #options: ServeOptions;
  readonly #watch: Watch;
  #changes: CacheChanges | undefined;
  #app: App;
  #timer: RefreshTimer;
  #answer: Handler;
  #isStopped = false;

  /** Its paths are below `prefix`. */
  constructor(options: ServeOptions, watch: Watch, prefix = '') {
    this.#options = options;
    this.#watch = watch;
    this.prefix = prefix;
    this.#app = new App(options);
    this.#timer = new RefreshTimer(this.#app.refresher);
    this.#answer = listenerOf(this.#app, watch, prefix);
  }

  get measures(): readonly Measure[] {
    return this.#app.measures;
  }

  /** Whether only admins are told of what is measured. */
  get isMeasuredForAdmins(): boolean {
    return this.#app.gate?.hasAdmins === true;
  }

  readonly answer: Handler = (request, response) => this.#answer(request, response);

  /** The same below `prefix` as well. */
  below(prefix: string): { readonly prefix: string; readonly answer: Handler; readonly measures: readonly Measure[] } {
    return {
      prefix,
      measures: [],
      answer: (request, response) => listenerOf(this.#app, this.#watch, prefix)(request, response),
    };
  }

  /** As of RefreshTimer. */
  async start(...options: Parameters<RefreshTimer['start']>): Promise<void> {
    await this.#timer.start(...options);
    this.#app.load();
  }

  /** Answers from now on with what `changes` say, without any with what was said last. */
  reload(changes: CacheChanges | undefined): void {
    const { counters, refresher } = this.#app;
    this.#changes = changes ?? this.#changes;
    this.#app = new App({ ...this.#options, ...this.#changes, counters });
    this.#answer = listenerOf(this.#app, this.#watch, this.prefix);
    this.#app.load();
    this.#timer.stop();
    this.#timer = new RefreshTimer(this.#app.refresher);
    // A refresh that a client waits for may still end, and change the index below the new answers.
    refresher.onEnd = () => this.#app.narInfos.clear();
    if (!this.#isStopped) void this.#timer.start(0);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer.stop();
  }
}

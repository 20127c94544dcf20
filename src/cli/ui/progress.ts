/** Long work in view: a line per task that redraws itself on a terminal, a heartbeat in a log, nothing when quiet. */
import {
  formatDone,
  formatHeartbeat,
  formatProgressLine,
  type ProgressCounts,
  type ProgressSnapshot,
  progressShare,
} from './progress-line.ts';
import { Remaining } from './remaining.ts';

export interface ProgressOptions {
  /** What is counted, in singular; default `path`. */
  readonly noun?: string;
  readonly totalItems?: number | undefined;
  readonly totalBytes?: number | undefined;
  /** False where items differ so much that nobody can tell how long the rest takes. Default: true. */
  readonly isSteady?: boolean;
}

/** What a use case tells of its progress; none of it throws or waits. */
export interface ProgressTask {
  advance(step: { readonly items?: number; readonly bytes?: number }): void;
  /** How far it is in all, for those who are told so. */
  reach(state: { readonly items: number }): void;
  /** The totals, once they are known or grown. */
  expect(totals: { readonly items?: number; readonly bytes?: number }): void;
  /** What is being worked on. */
  note(text: string): void;
  /** Ends the task with a line in the story; `done` twice is `done` once. */
  done(): void;
  /** Ends the task without a word: the error that follows has them. */
  drop(): void;
}

/** What progress needs of the output. */
export interface ProgressSurface {
  readonly mode: 'live' | 'log' | 'silent';
  /** Characters a line may have. */
  readonly width: number;
  /** Replaces the lines below the story. */
  drawLive(lines: readonly string[]): void;
  story(line: string): void;
}

const REDRAW_MS = 100;
/** CI systems end jobs that are silent for long, and people get uneasy sooner. */
const HEARTBEAT_MS = 30_000;

export class Progress {
  readonly #surface: ProgressSurface;
  readonly #now: () => number;
  readonly #tasks = new Set<Task>();
  #timer: NodeJS.Timeout | undefined;

  constructor(surface: ProgressSurface, now: () => number = () => performance.now()) {
    this.#surface = surface;
    this.#now = now;
  }

  start(title: string, options: ProgressOptions = {}): ProgressTask {
    const task = new Task(title, options, this.#now, (ended, line) => this.#end(ended, line));
    this.#tasks.add(task);
    if (this.#surface.mode !== 'silent') this.#watch();
    return task;
  }

  /** Shows how far all is by now; else done by a timer. */
  draw(): void {
    const { mode, width } = this.#surface;
    const snapshots = [...this.#tasks].map((task) => task.snapshot());
    if (mode === 'live') this.#surface.drawLive(snapshots.map((each) => formatProgressLine(each, width)));
    else for (const each of snapshots) this.#surface.story(formatHeartbeat(each));
  }

  /** Ends all tasks without a word, for when the process ends. */
  close(): void {
    this.#tasks.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#surface.mode === 'live') this.#surface.drawLive([]);
  }

  #watch(): void {
    const live = this.#surface.mode === 'live';
    if (live) this.draw();
    // Progress must not keep the process alive.
    this.#timer ??= setInterval(() => this.draw(), live ? REDRAW_MS : HEARTBEAT_MS).unref();
  }

  #end(task: Task, line: string | undefined): void {
    if (!this.#tasks.delete(task)) return;
    if (this.#tasks.size === 0) this.close();
    if (line !== undefined && this.#surface.mode !== 'silent') this.#surface.story(line);
  }
}

class Task implements ProgressTask {
  readonly #title: string;
  readonly #noun: string;
  readonly #now: () => number;
  readonly #startedMs: number;
  readonly #end: (task: Task, line: string | undefined) => void;
  #items = 0;
  #bytes = 0;
  #text = '';
  /** Undefined where nobody can tell how long the rest takes. */
  readonly #remaining: Remaining | undefined;
  #totalItems: number | undefined;
  #totalBytes: number | undefined;

  constructor(
    title: string,
    options: ProgressOptions,
    now: () => number,
    end: (task: Task, line: string | undefined) => void,
  ) {
    this.#title = title;
    this.#noun = options.noun ?? 'path';
    this.#totalItems = options.totalItems;
    this.#totalBytes = options.totalBytes;
    this.#now = now;
    this.#startedMs = now();
    this.#remaining = options.isSteady === false ? undefined : new Remaining(this.#startedMs);
    this.#end = end;
  }

  advance({ items = 0, bytes = 0 }: { readonly items?: number; readonly bytes?: number }): void {
    this.#items += items;
    this.#bytes += bytes;
    this.#note();
  }

  reach({ items }: { readonly items: number }): void {
    this.#items = items;
    this.#note();
  }

  expect({ items, bytes }: { readonly items?: number; readonly bytes?: number }): void {
    this.#totalItems = items ?? this.#totalItems;
    this.#totalBytes = bytes ?? this.#totalBytes;
  }

  note(text: string): void {
    this.#text = text;
  }

  done(): void {
    this.#end(this, formatDone(this.snapshot()));
  }

  drop(): void {
    this.#end(this, undefined);
  }

  snapshot(): ProgressSnapshot {
    const now = this.#now();
    const share = progressShare(this.#counts());
    return {
      ...this.#counts(),
      title: this.#title,
      noun: this.#noun,
      elapsedMs: now - this.#startedMs,
      remainingMs: share === undefined ? undefined : this.#remaining?.estimate(now, share),
      note: this.#text,
    };
  }

  #counts(): ProgressCounts {
    return { items: this.#items, totalItems: this.#totalItems, bytes: this.#bytes, totalBytes: this.#totalBytes };
  }

  #note(): void {
    const share = progressShare(this.#counts());
    if (share !== undefined) this.#remaining?.note(this.#now(), share);
  }
}

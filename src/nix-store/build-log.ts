/**
 * Reads what Nix says while it builds: `--log-format internal-json`, one `@nix {…}` a line on stderr.
 *
 * Activity types: 105 a build [drv, …], 108 a substitution [path, store]. Result types: 101 a line of a build's log,
 * 104 its phase, 105 counts of an activity [done, expected, running, failed]. `stop` does not tell success. An id is
 * the process id shifted by 32 bits and so can be above 2^53: it is kept as text.
 * Source: NixOS/nix src/libutil/{logging.cc,include/nix/util/logging.hh}; the same from 2.8 to 2.34.
 */
import * as z from 'zod/mini';
import { stripAnsi } from './stderr-tail.ts';

export type BuildEvent =
  | { readonly type: 'build-started' | 'build-stopped'; readonly drvPath: string }
  | { readonly type: 'build-phase'; readonly drvPath: string; readonly phase: string }
  | { readonly type: 'build-line'; readonly drvPath: string; readonly line: string }
  | { readonly type: 'fetch-started' | 'fetch-stopped'; readonly path: string; readonly from: string }
  | {
      readonly type: 'progress';
      readonly done: number;
      readonly expected: number;
      readonly running: number;
      readonly failed: number;
    }
  | { readonly type: 'error'; readonly text: string };

const PREFIX = '@nix ';
const BUILD = 105;
const BUILDS = 104;
const SUBSTITUTE = 108;
const LOG_LINE = 101;
const PHASE = 104;
const PROGRESS = 105;
const LEVEL_ERROR = 0;

const Line = z.discriminatedUnion('action', [
  z.object({
    action: z.literal('start'),
    id: z.string(),
    type: z.number(),
    fields: z.optional(z.array(z.union([z.string(), z.number()]))),
  }),
  z.object({ action: z.literal('stop'), id: z.string() }),
  z.object({
    action: z.literal('result'),
    id: z.string(),
    type: z.number(),
    fields: z.array(z.union([z.string(), z.number()])),
  }),
  z.object({ action: z.literal('msg'), level: z.number(), msg: z.string() }),
]);

/** Lines of each build's log that are kept. */
const MAX_LOG_LINES = 25;

/** Follows one run of Nix. */
export class BuildLog {
  readonly #onEvent: ((event: BuildEvent) => void) | undefined;
  readonly #builds = new Map<string, string>();
  readonly #fetches = new Map<string, { readonly path: string; readonly from: string }>();
  readonly #lines = new Map<string, string[]>();
  readonly #errors: string[] = [];
  #summaryId: string | undefined;

  constructor(onEvent?: (event: BuildEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** Derivations whose build was started, in that order. */
  get started(): readonly string[] {
    return [...this.#lines.keys()];
  }

  /** What Nix reported as errors, each on one line. */
  get errors(): readonly string[] {
    return this.#errors;
  }

  /** The last lines that the build of `drvPath` wrote. */
  tailOf(drvPath: string): readonly string[] {
    return this.#lines.get(drvPath) ?? [];
  }

  /** Whether `line` was a structured one. */
  read(line: string): boolean {
    if (!line.startsWith(PREFIX)) return false;
    const parsed = Line.safeParse(parseWithTextIds(line.slice(PREFIX.length)));
    if (parsed.success) this.#take(parsed.data);
    return true;
  }

  #take(line: z.infer<typeof Line>): void {
    if (line.action === 'start') this.#start(line.id, line.type, (line.fields ?? []).map(String));
    else if (line.action === 'stop') this.#stop(line.id);
    else if (line.action === 'result') this.#result(line);
    else if (line.level === LEVEL_ERROR) this.#error(line.msg);
  }

  #error(message: string): void {
    const text = stripAnsi(message)
      .replaceAll(/\s+/g, ' ')
      .trim()
      .replace(/^error:\s*/, '');
    this.#errors.push(text);
    this.#onEvent?.({ type: 'error', text });
  }

  #start(id: string, type: number, [first = '', second = '']: readonly string[]): void {
    if (type === BUILDS) this.#summaryId = id;
    else if (type === BUILD) {
      this.#builds.set(id, first);
      this.#lines.set(first, []);
      this.#onEvent?.({ type: 'build-started', drvPath: first });
    } else if (type === SUBSTITUTE) {
      this.#fetches.set(id, { path: first, from: second });
      this.#onEvent?.({ type: 'fetch-started', path: first, from: second });
    }
  }

  #stop(id: string): void {
    const drvPath = this.#builds.get(id);
    const fetch = this.#fetches.get(id);
    if (drvPath !== undefined) this.#onEvent?.({ type: 'build-stopped', drvPath });
    if (fetch !== undefined) this.#onEvent?.({ type: 'fetch-stopped', ...fetch });
    this.#builds.delete(id);
    this.#fetches.delete(id);
  }

  #result(result: { readonly id: string; readonly type: number; readonly fields: readonly (string | number)[] }): void {
    const { id, type, fields } = result;
    if (type === PROGRESS && id === this.#summaryId) {
      const [done = 0, expected = 0, running = 0, failed = 0] = fields.map(Number);
      this.#onEvent?.({ type: 'progress', done, expected, running, failed });
    }
    const drvPath = this.#builds.get(id);
    if (drvPath === undefined) return;
    const text = stripAnsi(String(fields[0] ?? ''));
    if (type === PHASE) this.#onEvent?.({ type: 'build-phase', drvPath, phase: text });
    if (type !== LOG_LINE) return;
    const lines = this.#lines.get(drvPath) ?? [];
    lines.push(text);
    if (lines.length > MAX_LOG_LINES) lines.shift();
    this.#onEvent?.({ type: 'build-line', drvPath, line: text });
  }
}

/** Takes ids from the source text, before JSON.parse rounds them. */
function parseWithTextIds(text: string): unknown {
  try {
    return JSON.parse(text, (key, value: unknown, context?: { readonly source?: string }) =>
      key === 'id' && typeof value === 'number' ? (context?.source ?? String(value)) : value,
    );
  } catch {
    // Nix cut the line short, as when it is killed: not a structured line any more, and nothing to act on.
    return undefined;
  }
}

import type { Measurement } from './measure.ts';

/** What a suite found: times as measured, and ratios held against the goals. */
export interface Report {
  readonly suite: string;
  /** Facts one needs to read the numbers: versions, cores, sizes. */
  readonly conditions: Readonly<Record<string, string | number>>;
  readonly measured: readonly Measured[];
  readonly goals: readonly Goal[];
}

export interface Measured {
  readonly name: string;
  /** Medians of all runs. */
  readonly wallMs: number;
  readonly cpuMs?: number;
  readonly peakRssBytes?: number;
  /** Of what was written; of repetitions that write nothing new, nothing. */
  readonly sizeBytes?: number;
  /** What else there is to say. */
  readonly note?: string;
  /** Wall time of each run, in order. */
  readonly runsMs: readonly number[];
}

export interface Goal {
  readonly name: string;
  /** Or a number of `unit`. */
  readonly ratio: number;
  readonly unit?: string;
  readonly atMost: number;
}

export function summarize(name: string, runs: readonly (Measurement & { readonly sizeBytes?: number })[]): Measured {
  const sizeBytes = runs[0]?.sizeBytes;
  return {
    name,
    wallMs: median(runs.map(({ wallMs }) => wallMs)),
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    peakRssBytes: median(runs.map(({ peakRssBytes }) => peakRssBytes)),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    runsMs: runs.map(({ wallMs }) => Math.round(wallMs)),
  };
}

export function formatReport({ suite, conditions, measured, goals }: Report): string {
  const facts = Object.entries(conditions).map(([name, value]) => `${name}: ${value}`);
  const times = measured.map(({ name, wallMs, cpuMs, peakRssBytes, sizeBytes, note, runsMs }) => [
    name,
    seconds(wallMs),
    cpuMs === undefined ? '' : seconds(cpuMs),
    peakRssBytes === undefined ? '' : mebibytes(peakRssBytes),
    sizeBytes === undefined ? '' : mebibytes(sizeBytes),
    runsMs.map((ms) => (ms / 1000).toFixed(2)).join(' '),
    note ?? '',
  ]);
  const ratios = goals.map(({ name, ratio, unit = '', atMost }) => [
    name,
    `${ratio.toFixed(3)} ${unit}`.trim(),
    `${Number(atMost.toFixed(3))} ${unit}`.trim(),
    ratio <= atMost ? 'met' : 'MISSED',
  ]);
  return [
    `${suite}\n  ${facts.join('\n  ')}`,
    formatTable(['measured', 'wall', 'cpu', 'peak memory', 'size', 'runs (s)', ''], times),
    ...(ratios.length === 0 ? [] : [formatTable(['against', 'ratio', 'goal', ''], ratios)]),
  ].join('\n\n');
}

/** First column to the left, the others to the right. */
function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Of an even number the larger of the two in the middle. */
export function median(values: readonly number[]): number {
  const middle = [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  if (middle === undefined) throw new Error('median of nothing');
  return middle;
}

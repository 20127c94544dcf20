/** Tables for terminals and pipes. */
import { truncate } from './format.ts';
import { onOneLine } from './plain-text.ts';

/**
 * Text in columns two spaces apart, `head` above. With a `width` the widest column gives way, so that no line wraps;
 * without one (a pipe or a file) nothing is cut.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  options: { readonly width?: number | undefined; readonly right?: readonly number[] } = {},
): string {
  const lines = [head, ...rows].map((row) => row.map(onOneLine));
  const widths = head.map((_, column) => lines.reduce((most, row) => Math.max(most, length(row[column] ?? '')), 0));
  if (options.width !== undefined) shrink(widths, options.width);
  return lines
    .map((row) =>
      widths
        .map((width, column) => {
          const cell = truncate(row[column] ?? '', width);
          const space = ' '.repeat(width - length(cell));
          return options.right?.includes(column) ? space + cell : cell + space;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Below this a column says nothing any more. */
const MIN_COLUMN = 6;

function shrink(widths: number[], width: number): void {
  const gaps = 2 * (widths.length - 1);
  for (;;) {
    const widest = Math.max(...widths);
    if (widths.reduce((sum, each) => sum + each, gaps) <= width || widest <= MIN_COLUMN) return;
    widths[widths.indexOf(widest)] = widest - 1;
  }
}

const length = (text: string): number => [...text].length;

/** Titles and values, the values one below the other. */
export function formatFields(fields: readonly (readonly [string, string])[]): string {
  const width = Math.max(...fields.map(([title]) => title.length));
  return fields.map(([title, value]) => `  ${title.padEnd(width)}  ${onOneLine(value)}`.trimEnd()).join('\n');
}

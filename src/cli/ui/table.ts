/** Tables for terminals and pipes. */
import { onOneLine } from './plain-text.ts';
import { displayWidth, wrap } from './width.ts';

interface TableOptions {
  /** Columns of the terminal; undefined (a pipe or a file): nothing is shortened. */
  readonly width?: number | undefined;
  /** Columns whose cells end below one another. */
  readonly right?: readonly number[];
}

/**
 * Text in columns two spaces apart, `head` above; the first column is what each row is about. Where a line would be wider
 * than the terminal, first goes what can be read elsewhere: a column that says the same in each row, or what the name
 * says as well. Then hashes are shortened, of which `info` takes the beginning too. What is still too wide has its cells
 * below one another. Names are never cut.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { width = Number.POSITIVE_INFINITY, right = [] }: TableOptions = {},
): string {
  const columns = head.map((title, index): Column => {
    const cells = rows.map((row) => onOneLine(row[index] ?? ''));
    return { title: onOneLine(title), cells, isRight: right.includes(index) };
  });
  if (widthOf(columns) <= width) return inColumns(columns);
  const { kept, said } = withoutRepeats(columns);
  if (widthOf(kept) <= width) return [inColumns(kept), ...said].join('\n');
  const short = kept.map((column) => ({ ...column, cells: column.cells.map(shortenHash) }));
  if (widthOf(short) <= width) return [inColumns(short), ...said].join('\n');
  return [stacked(short, width), ...said].join('\n');
}

interface Column {
  readonly title: string;
  readonly cells: readonly string[];
  readonly isRight: boolean;
}

const columnWidth = ({ title, cells }: Column): number =>
  cells.reduce((most, cell) => Math.max(most, displayWidth(cell)), displayWidth(title));

const widthOf = (columns: readonly Column[]): number =>
  columns.reduce((sum, column) => sum + columnWidth(column) + 2, -2);

function inColumns(columns: readonly Column[]): string {
  const widths = columns.map(columnWidth);
  const line = (cellOf: (column: Column) => string): string =>
    columns
      .map((column, index) => {
        const cell = cellOf(column);
        const space = ' '.repeat((widths[index] ?? 0) - displayWidth(cell));
        return column.isRight ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  const count = columns[0]?.cells.length ?? 0;
  return [
    line(({ title }) => title),
    ...Array.from({ length: count }, (_, row) => line(({ cells }) => cells[row] ?? '')),
  ].join('\n');
}

/** A row alone repeats nothing. */
const MIN_REPEATS = 2;

function withoutRepeats([name, ...others]: readonly Column[]): {
  readonly kept: readonly Column[];
  readonly said: readonly string[];
} {
  if (name === undefined) return { kept: [], said: [] };
  const said: string[] = [];
  const kept = others.filter(({ title, cells }) => {
    const [first = ''] = cells;
    if (cells.every((cell, row) => cell !== '' && name.cells[row]?.split('.').includes(cell))) return false;
    if (cells.length < MIN_REPEATS || first === '' || cells.some((cell) => cell !== first)) return true;
    said.push(`  ${title} ${first}`);
    return false;
  });
  return { kept: [name, ...kept], said: said.length === 0 ? [] : ['the same in each row:', ...said] };
}

/** `41nldi08…-hello-2.12` of a store path or its base name: enough to tell it from others, and to name it to `info`. */
const shortenHash = (cell: string): string =>
  cell.replace(/^(?:\/nix\/store\/)?([0-9abcdfghijklmnpqrsvwxyz]{8})[0-9abcdfghijklmnpqrsvwxyz]{24}(?=-)/, '$1…');

/** Each row as a paragraph: the first cell, and the others below it with their titles. */
function stacked([name, ...others]: readonly Column[], width: number): string {
  const titles = others.reduce((most, { title }) => Math.max(most, displayWidth(title)), 0);
  return (name?.cells ?? [])
    .map((heading, row) => {
      const lines = others.flatMap(({ title, cells }) => {
        const cell = cells[row] ?? '';
        if (cell === '') return [];
        const line = `  ${title.toLowerCase()}${' '.repeat(titles - displayWidth(title))}  ${cell}`;
        // A long value has a line of its own rather than be torn where the terminal ends.
        return displayWidth(line) <= width ? [line] : [`  ${title.toLowerCase()}`, `    ${cell}`];
      });
      return [heading, ...lines].join('\n');
    })
    .join('\n');
}

/** Below this, what belongs to a word stands below it, not beside it. */
export const MIN_WIDTH_BESIDE = 60;

/** Titles and values, the values one below the other, wrapped to `width` columns; undefined: a line each. */
export function formatFields(fields: readonly (readonly [string, string])[], width?: number): string {
  const titles = Math.max(...fields.map(([title]) => title.length));
  if (width === undefined) {
    return fields.map(([title, value]) => `  ${title.padEnd(titles)}  ${onOneLine(value)}`.trimEnd()).join('\n');
  }
  const isBeside = width >= MIN_WIDTH_BESIDE;
  const indent = isBeside ? titles + 4 : 4;
  return fields
    .flatMap(([title, value]) => {
      const lines = wrap(onOneLine(value), width - indent).map((line) => `${' '.repeat(indent)}${line}`.trimEnd());
      if (!isBeside) return [...(title === '' ? [] : [`  ${title}`]), ...(value === '' ? [] : lines)];
      return [`  ${title.padEnd(titles)}  ${lines.join('\n').slice(indent)}`.trimEnd()];
    })
    .join('\n');
}

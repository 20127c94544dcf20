import { describe, expect, it } from 'vitest';
import { formatFields, formatTable } from '../../../src/cli/ui/table.ts';

describe('a table', () => {
  const head = ['NAME', 'SIZE'];
  const rows = [
    ['a', '1 B'],
    ['a-very-long-name-indeed', '100 B'],
  ];

  it('has columns, and no spaces at the ends of lines', () => {
    expect(formatTable(head, rows, { right: [1] })).toBe(
      ['NAME                      SIZE', 'a                          1 B', 'a-very-long-name-indeed  100 B'].join('\n'),
    );
    expect(formatTable(['A', 'B'], [['x', '']])).toBe('A  B\nx');
  });

  it('cuts the widest column to fit a terminal', () => {
    const lines = formatTable(head, rows, { width: 20 }).split('\n');
    expect(lines).toEqual(['NAME           SIZE', 'a              1 B', 'a-very-long-…  100 B']);
  });

  it('gives up on a terminal that is too narrow for anything', () => {
    expect(formatTable(head, rows, { width: 5 }).split('\n')).toHaveLength(3);
  });
});

it('fields stand below one another, and one without a title continues the one before', () => {
  const fields = [
    ['keys', 'a'],
    ['', 'b'],
    ['newest', ''],
  ] as const;
  expect(formatFields(fields)).toBe('  keys    a\n          b\n  newest');
});

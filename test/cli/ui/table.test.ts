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

  const hash = (letter: string): string => letter.repeat(32);
  const roots = {
    head: ['ROOT', 'SYSTEM', 'PUBLISHED', 'STORE PATH'],
    rows: ['hello', 'a-rather-long-name'].map((name, i) => [
      ...[`packages.x86_64-linux.${name}`, 'x86_64-linux', `2026-11-20 13:3${i}`, `${hash('ab'[i] ?? '')}-${name}-1.0`],
    ]),
  };

  it('cuts nothing in a pipe', () => {
    for (const row of roots.rows) for (const cell of row) expect(formatTable(roots.head, roots.rows)).toContain(cell);
  });

  it.each([130, 100, 80, 60, 40])('never cuts a name at %i columns, nor is it wider', (width) => {
    const lines = formatTable(roots.head, roots.rows, { width }).split('\n');
    for (const name of ['hello', 'a-rather-long-name']) {
      expect(lines.some((line) => line.startsWith(`packages.x86_64-linux.${name}`))).toBe(true);
      expect(lines.some((line) => line.includes(`-${name}-1.0`))).toBe(true);
    }
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(Math.max(width, 40));
  });

  it('first leaves out what the name says too, then shortens hashes, and stacks cells at last', () => {
    const at = (width: number): string => formatTable(roots.head, roots.rows, { width });
    expect(at(130)).toContain('SYSTEM');
    expect(at(125)).not.toContain('SYSTEM');
    expect(at(125)).toContain(hash('a'));
    expect(at(100)).toContain('aaaaaaaa…-hello-1.0');
    expect(at(40).split('\n').slice(0, 3)).toEqual([
      'packages.x86_64-linux.hello',
      '  published   2026-11-20 13:30',
      '  store path  aaaaaaaa…-hello-1.0',
    ]);
  });

  it('says once what is the same in every row', () => {
    const lines = [
      ['hello', 'x86_64-linux', 'short'],
      ['world', 'x86_64-linux', 'shorter'],
    ];
    expect(formatTable(['NAME', 'SYSTEM', 'WHAT'], lines, { width: 20 })).toBe(
      'NAME   WHAT\nhello  short\nworld  shorter\nthe same in each row:\n  SYSTEM x86_64-linux',
    );
  });

  it('knows that some characters are two columns wide, and some none', () => {
    expect(
      formatTable(
        ['A', 'B'],
        [
          ['日本', '1'],
          ['e\u0301', '2'],
        ],
      ),
    ).toBe('A     B\n日本  1\ne\u0301     2');
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

it('fields are wrapped beside their titles, and below them where that is too narrow', () => {
  const fields = [
    ['needed by', 'mrcv47w51aaqms5q58b7r88fb24mqvrq-manual-1.0'],
    ['', 'cb3malnyvlyb8cgq5wb7j7rsyr4x3hz6-small-world-1.0'],
    ['gc', 'keeps it, since it is pinned as stable, which has been so for long'],
  ] as const;
  expect(formatFields(fields, 64)).toBe(
    [
      '  needed by  mrcv47w51aaqms5q58b7r88fb24mqvrq-manual-1.0',
      '             cb3malnyvlyb8cgq5wb7j7rsyr4x3hz6-small-world-1.0',
      '  gc         keeps it, since it is pinned as stable, which has',
      '             been so for long',
    ].join('\n'),
  );
  expect(formatFields(fields, 44)).toBe(
    [
      '  needed by',
      '    mrcv47w51aaqms5q58b7r88fb24mqvrq-manual-1.0',
      '    cb3malnyvlyb8cgq5wb7j7rsyr4x3hz6-small-world-1.0',
      '  gc',
      '    keeps it, since it is pinned as stable,',
      '    which has been so for long',
    ].join('\n'),
  );
});

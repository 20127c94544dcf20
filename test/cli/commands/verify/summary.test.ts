import { expect, it } from 'vitest';
import { formatVerify, verifyMarkdown } from '../../../../src/cli/commands/verify/summary.ts';
import type { Finding } from '../../../../src/verify/finding.ts';
import type { VerifyReport } from '../../../../src/verify/report.ts';

const finding = (kind: Finding['kind'], severity: Finding['severity'], what: string): Finding => ({
  ...{ kind, severity, what, message: `${what} is bad`, remedy: `heal ${kind}` },
});

it('groups by kind, shows ten of each, and says what helps', () => {
  const many = Array.from({ length: 12 }, (_, i) => finding('unsigned', 'damage', `path-${i}`));
  const report: VerifyReport = {
    checked: { segments: 1, entries: 12, checkpoints: 0, nars: 0, narBytes: 0, fileBytes: 0 },
    findings: [...many, finding('cache-index-stale', 'warning', 'cache-index')],
    repair: undefined,
  };
  const lines = formatVerify(report).split('\n');
  expect(lines[0]).toBe('damage: unsigned (12)');
  expect(lines.slice(10, 13)).toEqual(['  path-9 is bad', '  … and 2 more (--json lists all)', '  -> heal unsigned']);
  expect(lines.slice(13)).toEqual([
    '',
    'warning: cache-index-stale (1)',
    '  cache-index is bad',
    '  -> heal cache-index-stale',
  ]);
});

it('says nothing where there is nothing to say', () => {
  const checked = { segments: 0, entries: 0, checkpoints: 0, nars: 0, narBytes: 0, fileBytes: 0 };
  expect(formatVerify({ checked, findings: [], repair: undefined })).toBe('');
});

it('tells after a repair what it healed, without advice, and what is left', () => {
  const [healed, left] = [finding('blob-missing', 'damage', 'a'), finding('unsigned', 'warning', 'b')];
  const report = {
    checked: { segments: 1, entries: 12, checkpoints: 0, nars: 0, narBytes: 0, fileBytes: 0 },
    findings: [healed, left],
    repair: { dryRun: false, remaining: [left] } as unknown as NonNullable<VerifyReport['repair']>,
  };
  expect(formatVerify(report).split('\n')).toEqual([
    ...['healed: blob-missing (1)', '  a is bad', '', 'STILL THERE AFTER THE REPAIR', ''],
    ...['warning: unsigned (1)', '  b is bad', '  -> heal unsigned'],
  ]);
});

it.each([
  [['damage'], '1 finding of damage'],
  [['damage', 'damage', 'warning'], '2 findings of damage, 1 warning'],
  [['warning'], 'no damage, 1 warning'],
] as const)('counts %j as %s', (severities, text) => {
  const report: VerifyReport = {
    checked: { segments: 1, entries: 12, checkpoints: 0, nars: 0, narBytes: 0, fileBytes: 0 },
    findings: severities.map((severity, i) => finding('unsigned', severity, String(i))),
    repair: undefined,
  };
  expect(verifyMarkdown(report, 'x')).toContain(`12 entries: ${text}.\n`);
});

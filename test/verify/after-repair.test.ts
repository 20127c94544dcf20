import { expect, it } from 'vitest';
import { afterRepair, type Finding, type FindingKind, KINDS } from '../../src/verify/finding.ts';

const kinds = Object.keys(KINDS) as FindingKind[];
const found = (kind: FindingKind): Finding => ({
  kind,
  severity: 'damage',
  what: 'x',
  message: 'x',
  remedy: KINDS[kind][1],
});

it.each(kinds)('after a repair with a key nothing advises another one: %s', (kind) => {
  expect(afterRepair(found(kind), true).remedy).not.toContain('--repair');
});

it.each(kinds)('after one without a key, only one with a key: %s', (kind) => {
  expect(afterRepair(found(kind), false).remedy).not.toMatch(/--repair(?! --key-file)/);
});

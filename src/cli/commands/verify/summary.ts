/** What verify found and healed, for people and for GitHub. */

import { formatBytes, formatCount } from '../../../quantity.ts';
import type { Finding } from '../../../verify/finding.ts';
import { hasDamage, outstanding, type VerifyReport } from '../../../verify/report.ts';
import { escapeMarkdown } from '../../ui/markdown.ts';
import type { Output } from '../../ui/output.ts';

/** Of one kind; `--json` lists all. */
const SHOWN = 10;

/** The result on stdout: findings by kind, worst first; then what a repair did or would do. */
export function formatVerify(report: VerifyReport): string {
  const { repair } = report;
  const left = byKind(outstanding(report)).map((each) => formatKind(each));
  if (!repair || repair.dryRun) {
    return [...left, ...(repair ? [formatPlan(repair.plan)] : [])].filter((section) => section !== '').join('\n\n');
  }
  const healed = byKind(healedBy(report.findings, repair.remaining)).map((each) => formatKind(each, 'healed'));
  const sections = [
    ...healed,
    ...(healed.length > 0 && left.length > 0 ? ['STILL THERE AFTER THE REPAIR'] : []),
    ...left,
  ];
  return sections.filter((section) => section !== '').join('\n\n');
}

const byKind = (findings: readonly Finding[]): Finding[][] => [...Map.groupBy(findings, ({ kind }) => kind).values()];

/** Those that are there no more. */
function healedBy(before: readonly Finding[], after: readonly Finding[]): readonly Finding[] {
  const keyOf = ({ kind, what }: Finding): string => `${kind} ${what}`;
  const left = new Set(after.map(keyOf));
  return before.filter((finding) => !left.has(keyOf(finding)));
}

function formatKind(findings: readonly Finding[], healed?: 'healed'): string {
  const [first] = findings;
  if (!first) return '';
  return [
    `${healed ?? first.severity}: ${first.kind} (${findings.length})`,
    ...some(findings.map(({ message }) => `  ${message}`)),
    ...(healed ? [] : [`  -> ${first.remedy}`]),
  ].join('\n');
}

function some(lines: readonly string[]): string[] {
  const more = lines.length - SHOWN;
  return more > 0 ? [...lines.slice(0, SHOWN), `  … and ${more} more (--json lists all)`] : [...lines];
}

type Plan = NonNullable<VerifyReport['repair']>['plan'];

function formatPlan(plan: Plan): string {
  const group = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [`${title} (${lines.length})`, ...some(lines.map((line) => `  ${line}`))];
  const lines = [
    ...group('would push from the local Nix store', plan.push),
    ...group(
      'would bring back',
      plan.fetch.map(({ path, from }) => `${path} from ${from}`),
    ),
    ...group(
      'would drop',
      plan.drop.map(({ path, reason }) => `${path}: ${reason}`),
    ),
    ...group('would tag again', plan.retag),
    ...group('would write anew', [...plan.rewrite, ...plan.replaceCheckpoints]),
    ...group('would remove, as nothing of it can be read', plan.removeCheckpoints),
    ...(plan.cacheIndex ? ['would write cache-index anew'] : []),
  ];
  return lines.join('\n');
}

/** The end of the story. */
export function tellVerify(report: VerifyReport, cache: string, output: Output): void {
  const { checked, repair } = report;
  const read = checked.nars > 0 ? `, ${formatCount(checked.nars, 'NAR')} (${formatBytes(checked.fileBytes)}) read` : '';
  const what = `${formatCount(checked.entries, 'entry', 'entries')} in ${formatCount(checked.segments, 'segment')}${read}`;
  if (repair && !repair.dryRun) {
    const done = [
      `${repair.pushed.length} pushed`,
      `${repair.restored.length} brought back`,
      `${repair.dropped.length} dropped`,
    ];
    output.info(`repaired ${cache}: ${done.join(', ')}`);
    for (const { path, reason } of repair.failed) output.warn(`${path} could not be brought back: ${reason}`);
  }
  if (repair?.blocked !== undefined) output.warn(`nothing was dropped: ${repair.blocked}`);
  for (const { severity, message, remedy } of outstanding(report)) {
    if (severity !== 'info') output.annotate(severity === 'damage' ? 'error' : 'warning', `${message}; ${remedy}`);
  }
  output.info(`verified ${cache}: ${what}; ${countsOf(report)}`);
}

function countsOf(report: VerifyReport): string {
  const left = outstanding(report);
  const of = (severity: Finding['severity']): number => left.filter((each) => each.severity === severity).length;
  const onPurpose = left.filter(({ kind }) => kind === 'left-out-on-purpose').length;
  const counts =
    left.length === onPurpose
      ? 'everything is as it should be'
      : [
          of('damage') === 0 ? 'no damage' : `${formatCount(of('damage'), 'finding')} of damage`,
          ...(of('warning') === 0 ? [] : [formatCount(of('warning'), 'warning')]),
        ].join(', ');
  return onPurpose === 0 ? counts : `${counts}; left out on purpose (${onPurpose})`;
}

/** For GITHUB_OUTPUT. */
export const verifyOutputs = (report: VerifyReport): Readonly<Record<string, string>> => ({
  damage: String(outstanding(report).filter(({ severity }) => severity === 'damage').length),
  healed: String(report.repair !== undefined && !report.repair.dryRun && !hasDamage(report)),
});

/** For GITHUB_STEP_SUMMARY. */
export const verifyMarkdown = (report: VerifyReport, cache: string): string =>
  [
    `### nixcache verify: ${cache}`,
    '',
    `${formatCount(report.checked.entries, 'entry', 'entries')}: ${countsOf(report)}.`,
    ...[...Map.groupBy(outstanding(report), ({ kind }) => kind)].flatMap(([kind, all]) => [
      `- ${kind}: ${all.length}`,
      ...some(all.map(({ message }) => `  - ${escapeMarkdown(message)}`)),
    ]),
  ].join('\n');

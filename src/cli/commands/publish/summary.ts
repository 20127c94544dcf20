/** What a publish did or would do, for people, for scripts and for the job's page on GitHub. All of it pure. */

import { storeDirOf } from '../../../nix/store-path.ts';
import { narBytes, type PublishPlan } from '../../../publish/plan.ts';
import type { PublishPathsResult } from '../../../publish/publish-paths.ts';
import type { PushOutcome, StoppedPush } from '../../../publish/push-paths.ts';
import { formatBytes, formatCount, formatNumber } from '../../../quantity.ts';
import { reportedError } from '../../failure.ts';
import { pathsJson as storePaths } from '../../json.ts';
import { formatDuration } from '../../ui/format.ts';
import { escapeMarkdown } from '../../ui/markdown.ts';
import { formatTable } from '../../ui/table.ts';
import { formatProgressMade } from './stopped.ts';

export interface PublishReport {
  /** The cache reference. */
  readonly cache: string;
  readonly dryRun: boolean;
  readonly published: PublishPathsResult;
  /** `name:base64` */
  readonly publicKeys: readonly string[];
  readonly durationMs: number;
}

/** The JSON of `push --json`, part of that of `publish --json`. Stable: scripts read it. */
export function publishJson(report: PublishReport): Readonly<Record<string, unknown>> {
  const { plan, outcome, asserted, signed, unsigned } = report.published;
  return {
    cache: report.cache,
    dryRun: report.dryRun,
    push: pathsJson(plan.push),
    cached: pathsJson(plan.cached),
    sign: pathsJson(plan.sign),
    upstream: pathsJson(plan.upstream),
    excluded: plan.excluded.map(({ info, reason, dependents }) => ({
      path: info.path,
      reason,
      dependents: storePaths(dependents, storeDirOf(info.path)),
    })),
    unknown: plan.unknown.map(({ path }) => path),
    ...(outcome === undefined
      ? {}
      : {
          pushed: outcome.pushed.map(({ path }) => path),
          failed: Object.fromEntries(outcome.failed),
          notPushed: outcome.stopped?.missing.map(({ path }) => path) ?? [],
          interrupted: outcome.stopped?.isInterrupted ?? false,
          ...(outcome.stopped && { error: reportedError(outcome.stopped.cause) }),
          segments: outcome.segments.map(({ tag }) => tag),
          uploadedBytes: outcome.uploadedBytes,
          existedBytes: outcome.existedBytes,
          ...{ asserted, signed, unsigned },
        }),
    publicKeys: report.publicKeys,
    durationMs: Math.round(report.durationMs),
  };
}

const pathsJson = (infos: PublishPlan['push']): Readonly<Record<string, unknown>> => ({
  paths: infos.map(({ path }) => path),
  narBytes: narBytes(infos),
});

/** `--dry-run` on stdout. */
export function formatPlan(plan: PublishPlan, width: number | undefined): string {
  const counts = formatTable(
    ['', 'PATHS', 'BYTES'],
    [
      ['would be pushed', ...amount(plan.push)],
      ['in the cache', ...amount(plan.cached)],
      ['would be signed there', ...amount(plan.sign)],
      ['upstream', ...amount(plan.upstream)],
      ['left out', ...amount(plan.excluded.map(({ info }) => info))],
    ],
    { right: [1, 2] },
  );
  if (plan.push.length === 0) return counts;
  const paths = formatTable(
    ['WOULD BE PUSHED', 'BYTES'],
    plan.push.map(({ path, narSize }) => [path, formatBytes(narSize)]),
    { width, right: [1] },
  );
  return `${counts}\n\n${paths}`;
}

const amount = (infos: PublishPlan['push']): readonly string[] => [
  formatNumber(infos.length),
  formatBytes(narBytes(infos)),
];

/** The end of the story, line by line. */
export function formatSummary({ cache, published, durationMs }: PublishReport): readonly string[] {
  const { plan, outcome, signed, unsigned } = published;
  if (outcome === undefined) return ['dry run: nothing was published'];
  const bytes = `${formatBytes(outcome.uploadedBytes)} uploaded`;
  const isDone = plan.push.length + signed.length + outcome.failed.size === 0 && isOfUse(published);
  const spared = [
    [signed, 'signed there'],
    [plan.cached, 'in the cache already'],
    [plan.upstream, 'upstream'],
    [plan.excluded, 'left out'],
  ] as const;
  const counts = spared.filter(([all]) => all.length > 0).map(([all, where]) => `${formatNumber(all.length)} ${where}`);
  const existed = outcome.existedBytes > 0 ? `, ${formatBytes(outcome.existedBytes)} were there already` : '';
  return [
    isDone
      ? `nothing to push: ${whoHas(plan)} all of it (${cache}, ${formatDuration(durationMs)})`
      : !isOfUse(published)
        ? `nothing was published to ${cache} (${formatDuration(durationMs)})`
        : `published ${formatCount(outcome.pushed.length, 'path')} to ${cache} in ${formatDuration(durationMs)} (${bytes}${existed})`,
    ...(signed.length > 0 ? [`signed ${formatCount(signed.length, 'path')} that the cache had, without upload`] : []),
    ...(isDone || counts.length === 0
      ? []
      : [
          `${formatCount(closurePaths(plan), 'path')} in all: ${[`${formatNumber(outcome.pushed.length)} pushed`, ...counts].join(', ')}`,
        ]),
    ...(outcome.stopped || !isOfUse(published) ? [] : [`use it: nixcache serve --from ${cache}`]),
    ...[...outcome.failed].map(([path, reason]) => `not published: ${path}: ${reason}`),
    ...unsigned.map((path) => `not signed: ${path}`),
  ];
}

/** Whether clients find anything of it. */
const isOfUse = ({ plan, outcome, signed }: PublishPathsResult): boolean =>
  outcome === undefined || outcome.pushed.length + signed.length + plan.cached.length + plan.upstream.length > 0;

const whoHas = ({ cached, upstream }: PublishPlan): string =>
  cached.length === 0 ? 'upstream has' : upstream.length === 0 ? 'the cache has' : 'the cache and upstream have';

const closurePaths = (plan: PublishPlan): number =>
  [plan.push, plan.cached, plan.sign, plan.upstream, plan.excluded].reduce((sum, { length }) => sum + length, 0);

/** For GITHUB_OUTPUT. */
export function stepOutputs({ cache, published, publicKeys }: PublishReport): Readonly<Record<string, string>> {
  const { plan, outcome, signed } = published;
  return {
    cache,
    pushed: String(outcome?.pushed.length ?? 0),
    signed: String(signed.length),
    'failed-paths': String(outcome?.failed.size ?? 0),
    skipped: String(plan.cached.length + plan.upstream.length),
    'uploaded-bytes': String(outcome?.uploadedBytes ?? 0),
    'public-keys': publicKeys.join(' '),
  };
}

/** What nobody should overlook. */
const UNSIGNED =
  '> [!WARNING]\n> There is no signing key: what is published is **unsigned**, and Nix clients refuse it. Make a key with `nixcache key generate NAME`, and set the secret `NIX_SIGNING_KEY`.';

/** For GITHUB_STEP_SUMMARY. */
export function formatMarkdown(report: PublishReport): string {
  const { cache, published, publicKeys, durationMs, dryRun } = report;
  const { plan, outcome } = published;
  const failed = [...(outcome?.failed ?? [])].map(([path, reason]) => `- \`${path}\`: ${escapeMarkdown(reason)}`);
  return [
    `### nixcache: ${cache}${dryRun ? ' (dry run)' : ''}`,
    '',
    '| | Paths | NAR bytes |',
    '|---|---:|---:|',
    markdownRow(dryRun ? 'would be pushed' : 'pushed', dryRun ? plan.push : (outcome?.pushed ?? [])),
    markdownRow('in the cache already', plan.cached),
    ...(plan.sign.length > 0 ? [markdownRow(dryRun ? 'would be signed there' : 'signed there', plan.sign)] : []),
    markdownRow('upstream', plan.upstream),
    markdownRow(
      'left out',
      plan.excluded.map(({ info }) => info),
    ),
    '',
    `${formatBytes(outcome?.uploadedBytes ?? 0)} uploaded in ${formatDuration(durationMs)}.`,
    ...(outcome?.stopped ? ['', formatStopped(outcome, outcome.stopped)] : []),
    ...(publicKeys.length === 0 ? ['', UNSIGNED] : []),
    ...(failed.length > 0 ? ['', '**Not published**', '', ...failed] : []),
    ...(isOfUse(published) ? ['', ...usage(report)] : []),
  ].join('\n');
}

const usage = ({ cache, publicKeys }: PublishReport): readonly string[] => [
  '```',
  `nixcache serve --from ${cache}`,
  'extra-substituters = http://127.0.0.1:37515',
  ...(publicKeys.length > 0 ? [`extra-trusted-public-keys = ${publicKeys.join(' ')}`] : []),
  '```',
];

const formatStopped = (outcome: PushOutcome, { isInterrupted, cause }: StoppedPush): string => {
  const why = isInterrupted ? '' : ` ${escapeMarkdown(reportedError(cause).message)}.`;
  return `> [!WARNING]\n> **${isInterrupted ? 'Interrupted' : 'Failed half-way'}**: ${formatProgressMade(outcome)}.${why}`;
};

const markdownRow = (title: string, infos: PublishPlan['push']): string =>
  `| ${title} | ${formatNumber(infos.length)} | ${formatBytes(narBytes(infos))} |`;

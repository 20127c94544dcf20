/** The end of `publish` and `push`: the result, the story's last lines, and what GitHub gets. */
import type { PushSettings } from '../../../config/publish-settings.ts';
import type { OutputReport, OutputStatus, PublishResult } from '../../../publish/publish.ts';
import type { PublishPathsResult } from '../../../publish/publish-paths.ts';
import { EXIT, type ExitCode } from '../../exit-codes.ts';
import { outputJson } from '../../json.ts';
import type { Session } from '../../session/session.ts';
import { escapeMarkdown, markdownBlock, markdownCode } from '../../ui/markdown.ts';
import type { Output } from '../../ui/output.ts';
import { formatTable } from '../../ui/table.ts';
import type { Publisher } from './open-publisher.ts';
import { tellStopped } from './stopped.ts';
import { formatMarkdown, formatPlan, formatSummary, publishJson, stepOutputs } from './summary.ts';
import { hintVisibility } from './visibility-hint.ts';

export interface Published {
  readonly published: PublishPathsResult;
  /** What became of the outputs of a flake, where one was published. */
  readonly flake?: PublishResult;
  readonly dryRun: boolean;
  readonly durationMs: number;
}

/** The exit code is returned where the push ended early. */
export async function tellPublished(
  { published, flake, dryRun, durationMs }: Published,
  { store, keys }: Publisher,
  session: Session,
): Promise<ExitCode | undefined> {
  const { output } = session.context;
  const publicKeys = keys.map(({ publicKey }) => publicKey.text);
  const report = { cache: store.name, dryRun, published, publicKeys, durationMs };
  output.result({ ...publishJson(report), ...(flake && outputsJson(flake)) }, () =>
    dryRun ? [formatPlan(published.plan, output.tableWidth), ...(flake ? formatToBuild(flake) : [])].join('\n\n') : '',
  );
  if (flake) tellOutputs(flake, output);
  if (flake && !dryRun) tellNothing(flake, output);
  for (const line of formatSummary(report)) output.info(line);
  await output.stepSummary([formatMarkdown(report), ...(flake ? [outputsMarkdown(flake)] : [])].join('\n\n'));
  await output.stepOutputs({ ...stepOutputs(report), ...(flake && outputCounts(flake)) });
  const stopped = tellStopped(published.outcome, output);
  if (stopped !== undefined) return stopped;
  const segments = published.outcome?.segments.map(({ tag }) => tag) ?? [];
  await hintVisibility({ cache: session.cache, http: session.http, store, segments }, session.context);
  return undefined;
}

/** The exit code where paths were not published, or not signed though that is required; undefined where all went well. */
export function exitCodeForLosses(
  { outcome, unsigned }: PublishPathsResult,
  { requireSigning }: Pick<PushSettings, 'requireSigning'>,
): ExitCode | undefined {
  if (requireSigning && unsigned.length > 0) return EXIT.failed;
  return outcome !== undefined && outcome.failed.size > 0 ? EXIT.unpublished : undefined;
}

const WORDS: Readonly<Record<OutputStatus, string>> = {
  built: 'built',
  present: 'in the store already',
  cached: 'in the cache already',
  'to-build': 'would be built',
  skipped: 'not built, so skipped',
  failed: 'failed to build',
};

type Outputs = Pick<PublishResult, 'outputs' | 'evaluationFailures' | 'source'>;

/** Part of `publish --json`. */
const outputsJson = ({ outputs, evaluationFailures, source }: Outputs): Readonly<Record<string, unknown>> => ({
  source,
  outputs: outputs.map(({ output, status, failure }) => ({
    ...outputJson(output),
    status,
    ...(failure === undefined ? {} : { error: failure.error }),
  })),
  evaluationFailures,
});

/** For GITHUB_OUTPUT: added to what was pushed. */
function outputCounts({ outputs, evaluationFailures }: Outputs): Readonly<Record<string, string>> {
  const count = (status: OutputStatus): number => outputs.filter((report) => report.status === status).length;
  return { built: String(count('built')), 'failed-outputs': String(count('failed') + evaluationFailures.length) };
}

/** The counts, and every failure with the end of its log. */
function tellOutputs({ outputs, evaluationFailures }: Outputs, output: Output): void {
  for (const { output: failed, failure } of outputs) {
    if (failure === undefined) continue;
    output.warn(`${failed.attrPath} failed to build: ${failure.error}`, failure.logTail);
  }
  output.info(`outputs: ${formatCounts(outputs, evaluationFailures.length)}`);
}

function formatCounts(outputs: readonly OutputReport[], unevaluated: number): string {
  const counts = new Map<string, number>();
  for (const { status } of outputs) counts.set(WORDS[status], (counts.get(WORDS[status]) ?? 0) + 1);
  if (unevaluated > 0) counts.set('failed to evaluate', unevaluated);
  return [...counts].map(([word, count]) => `${count} ${word}`).join(', ') || 'none';
}

/** `--dry-run` on stdout: what else would come to be published is not known before that is built. */
function formatToBuild({ outputs }: Outputs): readonly string[] {
  const rows = outputs
    .filter(({ status }) => status === 'to-build')
    .map(({ output }) => [output.attrPath, output.system]);
  return rows.length === 0 ? [] : [formatTable(['WOULD BE BUILT, THEN PUSHED', 'SYSTEM'], rows)];
}

/** Why a publish did nothing, where it did. */
function tellNothing({ outputs, outcome }: PublishResult, output: Output): void {
  if (outcome === undefined || outcome.stopped || outcome.pushed.length + outcome.failed.size > 0) return;
  const isAll = (status: OutputStatus): boolean => outputs.every((report) => report.status === status);
  if (outputs.length === 0) return; // none evaluates, which is said of each
  if (isAll('skipped')) output.warn('nothing was published: no output is built, and --no-build was given');
}

/** Of more failures the log tells. */
const MAX_BLOCKS = 50;

/** Why outputs do not evaluate. */
function evaluationBlocks(failures: PublishResult['evaluationFailures']): readonly string[] {
  const blocks = failures
    .slice(0, MAX_BLOCKS)
    .map(({ attrPath, error }) => `**${markdownCode(attrPath)} does not evaluate**: ${escapeMarkdown(error)}`);
  const more = failures.length - blocks.length;
  return more > 0 ? [...blocks, `… and ${more} more that do not evaluate.`] : blocks;
}

/** What failed outputs said last, each once: several may have failed for the same reason. */
function failureBlocks(outputs: readonly OutputReport[]): readonly string[] {
  const failed = outputs.flatMap(({ output, failure }) => (failure === undefined ? [] : [{ output, failure }]));
  const blocks = failed.slice(0, MAX_BLOCKS).map(({ output, failure }) => {
    const log = failure.logTail.length === 0 ? [] : [markdownBlock(failure.logTail)];
    return [`**${markdownCode(output.attrPath)} failed to build**: ${escapeMarkdown(failure.error)}`, ...log].join(
      '\n\n',
    );
  });
  const more = failed.length - blocks.length;
  return more > 0 ? [...blocks, `… and ${more} more that failed.`] : blocks;
}

const SYSTEM = /^[\w-]+$/;

/** For GITHUB_STEP_SUMMARY. */
function outputsMarkdown({ outputs, evaluationFailures }: Outputs): string {
  const rows = outputs.map(
    ({ output, status }) =>
      `| ${markdownCode(output.attrPath)} | ${SYSTEM.test(output.system) ? output.system : markdownCode(output.system)} | ${WORDS[status]} |`,
  );
  const broken = evaluationFailures.map(({ attrPath }) => `| ${markdownCode(attrPath)} | | failed to evaluate |`);
  const table = ['| Output | System | |', '|---|---|---|', ...rows, ...broken].join('\n');
  return [table, ...failureBlocks(outputs), ...evaluationBlocks(evaluationFailures)].join('\n\n');
}

/** The end of `publish` and `push`: the result, the story's last lines, and what GitHub gets. */
import type { PublishResult } from '../../../publish/publish.ts';
import type { PublishPathsResult } from '../../../publish/publish-paths.ts';
import type { Session } from '../../session/session.ts';
import type { Publisher } from './open-publisher.ts';
import { outputCounts, outputsJson, outputsMarkdown, tellOutputs } from './outputs.ts';
import { formatMarkdown, formatPlan, formatSummary, publishJson, stepOutputs } from './summary.ts';
import { hintVisibility } from './visibility-hint.ts';

export interface Published {
  readonly published: PublishPathsResult;
  /** What became of the outputs of a flake, where one was published. */
  readonly flake?: PublishResult;
  readonly dryRun: boolean;
  readonly durationMs: number;
}

export async function tellPublished(
  { published, flake, dryRun, durationMs }: Published,
  { store, keys }: Publisher,
  session: Session,
): Promise<void> {
  const { output } = session.context;
  const publicKeys = keys.map(({ publicKey }) => publicKey.text);
  const report = { cache: store.name, dryRun, published, publicKeys, durationMs };
  output.result({ ...publishJson(report), ...(flake && outputsJson(flake)) }, () =>
    dryRun ? formatPlan(published.plan, output.tableWidth) : '',
  );
  if (flake) tellOutputs(flake, output);
  for (const line of formatSummary(report)) output.info(line);
  await output.stepSummary([formatMarkdown(report), ...(flake ? [outputsMarkdown(flake)] : [])].join('\n\n'));
  await output.stepOutputs({ ...stepOutputs(report), ...(flake && outputCounts(flake)) });
  const segments = published.outcome?.segments.map(({ tag }) => tag) ?? [];
  await hintVisibility({ cache: session.cache, http: session.http, store, segments }, session.context);
}

/** Builds a flake and publishes what it gives. */
import { ulid } from 'ulid';
import { type PublishFlags, publishSettings } from '../../../config/publish-settings.ts';
import { NixcacheError } from '../../../errors.ts';
import { githubSource } from '../../../github/source.ts';
import { type PublishResult, publish, type Substituter } from '../../../publish/publish.ts';
import { startServer } from '../../../serve/server.ts';
import { type CommandContext, type CommonFlags, sourcesOf } from '../../context.ts';
import { EXIT, type ExitCode } from '../../exit-codes.ts';
import { version } from '../../version.ts';
import { hintVisibility } from '../../visibility-hint.ts';
import { hasFlake } from '../discover/run.ts';
import { outputCounts, outputsJson, outputsMarkdown, tellOutputs } from './outputs.ts';
import { openPublishSession, type PublishSession } from './session.ts';
import { PublishStory } from './story.ts';
import { formatMarkdown, formatPlan, formatSummary, publishJson, stepOutputs } from './summary.ts';

export async function runPublish(
  flake: string | undefined,
  flags: PublishFlags & CommonFlags,
  context: CommandContext,
): Promise<void> {
  const { output, signal, env } = context;
  const startedMs = performance.now();
  const sources = await sourcesOf(flags, context);
  const settings = publishSettings(flake, sources, hasFlake);
  const { systems } = settings;
  if (systems === 'all') {
    throw new NixcacheError(
      'ERR_USAGE',
      '--system all: publish builds, so name the systems that this machine or its builders can build; discover takes all',
    );
  }
  await using session = await openPublishSession(settings, sources, context);
  const story = new PublishStory(output);
  try {
    const published = await publish({
      ...settings,
      ...session,
      ...githubSource(env, settings.flake),
      ...{ systems, signal, creator: `nixcache ${version()}`, run: ulid().toLowerCase(), workers: settings.jobs },
      startSubstituter: session.keys.length === 0 ? undefined : () => startSubstituter(session),
      onEvent: (event) => story.tell(event),
      now: () => new Date(),
    });
    story.end('done');
    const report = {
      cache: session.store.name,
      dryRun: settings.dryRun,
      published,
      publicKeys: session.keys.map(({ publicKey }) => publicKey.text),
      durationMs: performance.now() - startedMs,
    };
    output.result({ ...publishJson(report), ...outputsJson(published) }, () =>
      settings.dryRun ? formatPlan(published.plan, output.tableWidth) : '',
    );
    tellOutputs(published, output);
    for (const line of formatSummary(report)) output.info(line);
    await output.stepSummary(`${formatMarkdown(report)}\n\n${outputsMarkdown(published)}`);
    await output.stepOutputs({ ...stepOutputs(report), ...outputCounts(published) });
    const segments = published.outcome?.segments.map(({ tag }) => tag) ?? [];
    await hintVisibility({ ...session, segments }, context);
    context.exitCode = exitCodeFor(published);
  } finally {
    story.end('failed');
  }
}

function exitCodeFor({ outputs, evaluationFailures, outcome }: PublishResult): ExitCode {
  if ((outcome?.failed.size ?? 0) > 0) return EXIT.failed;
  const failed = outputs.filter(({ status }) => status === 'failed').length;
  if (failed + evaluationFailures.length === 0) return EXIT.done;
  return failed === outputs.length ? EXIT.failed : EXIT.partial;
}

/**
 * The cache as a substituter for the builds. Nix takes from it only what is signed by our own keys, so without a key
 * there is no point in one; what the cache says its keys are is not trusted for building.
 */
async function startSubstituter({ reader, keys }: PublishSession): Promise<Substituter> {
  const publicKeys = keys.map(({ publicKey }) => publicKey.text);
  const server = await startServer({ reader, publicKeys, port: 0, priority: 1 });
  return { url: server.url, publicKeys, close: () => server.close() };
}

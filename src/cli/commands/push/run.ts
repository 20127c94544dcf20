/** Publishes store paths that the user names. */
import { ulid } from 'ulid';
import { type PushFlags, pushSettings } from '../../../config/publish-settings.ts';
import { NixcacheError } from '../../../errors.ts';
import { githubSource } from '../../../github/source.ts';
import { nameOf, parseStorePath, type StorePath } from '../../../nix/store-path.ts';
import { asRoots, publishPaths } from '../../../publish/publish-paths.ts';
import { type CommandContext, type CommonFlags, sourcesOf } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { readStandardInput } from '../../standard-input.ts';
import { toStorePath } from '../../store-path-argument.ts';
import { formatCount } from '../../ui/format.ts';
import { version } from '../../version.ts';
import { hintVisibility } from '../../visibility-hint.ts';
import { openPublishSession, type PublishSession } from '../publish/session.ts';
import { PublishStory } from '../publish/story.ts';
import { formatMarkdown, formatPlan, formatSummary, publishJson, stepOutputs } from '../publish/summary.ts';

/** A million paths. */
const MAX_LIST_BYTES = 128 * 1024 * 1024;

export async function runPush(
  args: readonly string[],
  flags: PushFlags & CommonFlags,
  context: CommandContext,
): Promise<void> {
  const { output, signal, cwd } = context;
  const startedMs = performance.now();
  const sources = await sourcesOf(flags, context);
  const settings = pushSettings(sources);
  const texts = await argumentsOrInput(args, flags, context);
  // The closure is known whole, so that nothing is asked of the cache's entries but whether they are there and due.
  await using session = await openPublishSession(settings, sources, context, { sparse: true });
  const { store, localStore, keys } = session;
  const paths = await Promise.all(
    texts.map((text) => toStorePath(text, { storeDir: localStore.storeDir, cwd, what: 'push' })),
  );
  const now = new Date();
  const roots = asRoots(
    [...new Set(paths)].map((path) => ({ name: settings.rootName ?? nameOf(path), path })),
    { run: ulid().toLowerCase(), time: Math.floor(now.getTime() / 1000) },
  );
  const story = new PublishStory(output);
  try {
    const published = await publishPaths({
      ...settings,
      ...session,
      sourceUrl: githubSource(context.env)?.sourceUrl,
      ...{ paths, roots, signal, creator: `nixcache ${version()}`, workers: settings.jobs },
      buildClosureOf: settings.withBuildDeps ? await queryDerivers(paths, session, context) : [],
      onEvent: (event) => story.tell(event),
      now: () => new Date(),
    });
    story.end('done');
    const report = {
      cache: store.name,
      dryRun: settings.dryRun,
      published,
      publicKeys: keys.map(({ publicKey }) => publicKey.text),
      durationMs: performance.now() - startedMs,
    };
    output.result(publishJson(report), () => (settings.dryRun ? formatPlan(published.plan, output.tableWidth) : ''));
    for (const line of formatSummary(report)) output.info(line);
    await output.stepSummary(formatMarkdown(report));
    await output.stepOutputs(stepOutputs(report));
    const segments = published.outcome?.segments.map(({ tag }) => tag) ?? [];
    await hintVisibility({ ...session, segments }, context);
    if ((published.outcome?.failed.size ?? 0) > 0) context.exitCode = EXIT.failed;
  } finally {
    story.end('failed');
  }
}

async function argumentsOrInput(
  args: readonly string[],
  flags: CommonFlags,
  context: CommandContext,
): Promise<readonly string[]> {
  if (!args.includes('-')) return args;
  if (args.length > 1) throw new NixcacheError('ERR_USAGE', "'-' stands alone: give paths, or - to read them");
  if (flags.passwordStdin) {
    throw new NixcacheError(
      'ERR_USAGE',
      'standard input cannot hold the paths and the password: set NIXCACHE_PASSWORD instead of --password-stdin',
    );
  }
  const list = await readStandardInput(context, { what: 'the list of paths', maxBytes: MAX_LIST_BYTES });
  const paths = list.split('\n').map((line) => line.trim());
  return paths.filter((line) => line !== '');
}

/** The derivations that built `paths`, as far as this store knows and has them. */
async function queryDerivers(
  paths: readonly StorePath[],
  { localStore }: PublishSession,
  { output, signal }: CommandContext,
): Promise<readonly StorePath[]> {
  const infos = await localStore.queryPathInfos(paths, { signal });
  const derivers = infos.flatMap(({ path, deriver }) => {
    if (path.endsWith('.drv')) return [path];
    return deriver === undefined ? [] : [parseStorePath(`${localStore.storeDir}/${deriver}`, localStore.storeDir)];
  });
  const valid = await localStore.queryValidPaths(derivers, { signal });
  const lacking = infos.length - valid.size;
  if (lacking > 0) {
    output.warn(
      `${formatCount(lacking, 'path')} without build dependencies: the derivation is unknown or not in this store`,
    );
  }
  return [...valid];
}

/** Publishes store paths that the user names. */
import { ulid } from 'ulid';
import { pushSettings } from '../../../config/publish-settings.ts';
import { nameOf, parseStorePath, type StorePath } from '../../../nix/store-path.ts';
import { asRoots, publishPaths } from '../../../publish/publish-paths.ts';
import { formatCount } from '../../../quantity.ts';
import type { Call } from '../../command.ts';
import type { CommandContext } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { Session } from '../../session/session.ts';
import { resolveStorePath } from '../../store-path-argument.ts';
import { Story } from '../../ui/story.ts';
import { openPublisher, type Publisher, warnUnsigned } from '../publish/open-publisher.ts';
import { interruptedAt } from '../publish/stopped.ts';
import { publishTelling } from '../publish/story.ts';
import { exitCodeForLosses, tellPublished } from '../publish/tell.ts';
import type { Started } from './start.ts';

export async function runPush(call: Call, { texts, command }: Started): Promise<void> {
  const { context } = call;
  const { output, signal, cwd } = context;
  const startedMs = performance.now();
  await using session = await Session.open(call);
  const settings = pushSettings(session.sources);
  // The closure is known whole, so that nothing is asked of the cache's entries but whether they are there and due.
  const publisher = await openPublisher(session, settings, { sparse: true, command });
  const { storeDir } = publisher.localStore;
  const where = { storeDir, cwd, what: 'push' };
  const paths = [...new Set(await Promise.all(texts.map((text) => resolveStorePath(text, where))))];
  warnUnsigned(publisher, output);
  const now = await session.clock(publisher.store);
  const roots = asRoots(
    paths.map((path) => ({ name: settings.rootName ?? nameOf(path), path })),
    { run: ulid().toLowerCase(), time: Math.floor(now().getTime() / 1000) },
  );
  using story = new Story(output, publishTelling());
  const published = await publishPaths({
    ...settings,
    ...publisher,
    ...session.provenance,
    ...{ paths, roots, signal, workers: settings.jobs },
    buildClosureOf: settings.withBuildDeps ? await queryDerivers(paths, publisher, context) : [],
    onEvent(event) {
      if (event.type === 'stage') context.interrupted = interruptedAt(event.stage, { builds: false });
      story.tell(event);
    },
    now,
  });
  if (published.outcome?.stopped) story.drop();
  else story.end();
  const { dryRun } = settings;
  const stopped = await tellPublished(
    { published, dryRun, durationMs: performance.now() - startedMs },
    publisher,
    session,
  );
  context.exitCode = stopped ?? exitCodeForLosses(published, settings) ?? EXIT.done;
}

/** The derivations that built `paths`, as far as this store knows and has them. */
async function queryDerivers(
  paths: readonly StorePath[],
  { localStore }: Publisher,
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

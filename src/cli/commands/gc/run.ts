/** Drops what no root needs any more. */
import { gcSettings } from '../../../config/gc-settings.ts';
import { githubApiUrl } from '../../../config/github-api.ts';
import type { ManifestDeleter } from '../../../gc/deleter.ts';
import type { GcEvent, GcStage } from '../../../gc/events.ts';
import { runGc as collect } from '../../../gc/gc.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { registryKind } from '../../../oci/remote/registry-kinds.ts';
import { formatCount } from '../../../quantity.ts';
import type { Call } from '../../command.ts';
import { Session } from '../../session/session.ts';
import { Story, type Telling } from '../../ui/story.ts';
import { formatDropped, gcJson, gcMarkdown, gcOutputs, tellGc } from './summary.ts';

export async function runGc(call: Call): Promise<void> {
  const { output, signal } = call.context;
  await using session = await Session.open(call);
  const settings = gcSettings(session.sources);
  const store: ContentStore = await session.store();
  const reader = await session.writersReader(store, settings);
  const deleter = settings.dryRun ? undefined : await openDeleter(session);
  using story = new Story(output, GC_TELLING);
  const report = await collect({
    ...settings,
    ...session.provenance,
    ...{ store, deleter, reader, signal, mustExist: true },
    onEvent: (event) => story.tell(event),
    now: await session.clock(store),
  });
  story.end();
  output.result({ cache: store.name, ...gcJson(report, reader.storeDir) }, () =>
    report.dryRun ? formatDropped(report, output.tableWidth) : '',
  );
  tellGc(report, store.name, output);
  await output.stepSummary(gcMarkdown(report, store.name));
  await output.stepOutputs(gcOutputs(report));
}

/**
 * Undefined where the store itself deletes. octokit is imported here and nowhere else, so that only those pay for it who
 * need it.
 *
 * @throws {NixcacheError} ERR_USAGE; GitHub is not asked yet
 */
async function openDeleter(session: Session): Promise<ManifestDeleter | undefined> {
  const { reference, registryKind: kind } = session.cache;
  const { output, env } = session.context;
  if (reference.kind === 'layout' || registryKind(reference.host, kind).deletes !== 'github-packages') return undefined;
  const url = githubApiUrl(env);
  const { host, repository } = reference;
  const [{ GithubApi }, { GithubPackagesDeleter }, { parsePackageName }, { apiToken }, { credentialsProvider }] =
    await Promise.all([
      import('../../../github/api.ts'),
      import('../../../github/packages-deleter.ts'),
      import('../../../github/package-name.ts'),
      import('../../../github/token.ts'),
      import('../../../oci/credentials/find.ts'),
    ]);
  const ofRegistry = credentialsProvider({ ...(await session.credentials()), kind, env });
  const token = await apiToken({ ...{ api: url, host, repository, env }, credentials: ofRegistry });
  output.addSecret(token);
  const onWait = (seconds: number): void => output.info(`GitHub asks to wait ${seconds} s`);
  return new GithubPackagesDeleter({
    api: token === undefined ? undefined : new GithubApi({ ...{ url, token, http: session.http, onWait } }),
    package: parsePackageName(repository),
    onDeleted: (tag, id) => output.detail(`deleted package version ${id}, ${tag}`),
  });
}

const STAGES: Readonly<Record<GcStage, string>> = {
  read: 'reading the cache',
  plan: 'planning',
  write: 'writing what is kept',
  delete: 'deleting what was replaced',
  sweep: 'freeing storage',
};

export const GC_TELLING: Telling<GcEvent> = {
  stage: ({ stage }, story) => story.stage(STAGES[stage]),
  'segment-read': (event, story) => story.reach('read', 'segment', event),
  deleted: (event, story) => story.reach('delete', 'manifest', event),
  'pack-written': ({ bytes }, { output }) => output.detail(`wrote a pack of ${bytes} bytes`),
  'segment-written': ({ tag, entries }, { output }) =>
    output.detail(`wrote ${tag} with ${formatCount(entries, 'entry', 'entries')}`),
  'checkpoint-written': ({ tag }, { output }) => output.detail(`wrote ${tag}: what was dropped is gone for readers`),
  warning: ({ message }, { output }) => output.warn(message),
};

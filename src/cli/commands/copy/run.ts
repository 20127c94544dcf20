/** Copies a cache into another. */
import { ulid } from 'ulid';
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { openReader } from '../../../cache/read/either-reader.ts';
import { IndexReader } from '../../../cache/read/index-reader.ts';
import { type CacheSetting, ownIndexDirectory } from '../../../config/cache-reference.ts';
import { type CopyFlags, type CopySettings, copySettings } from '../../../config/copy-settings.ts';
import type { Sources } from '../../../config/resolve.ts';
import { readSigningKeys } from '../../../config/signing-keys.ts';
import type { CopyOptions, CopyReport } from '../../../copy/copy-options.ts';
import { copyReference, type Selection } from '../../../copy/copy-reference.ts';
import { copyUpstream } from '../../../copy/copy-upstream.ts';
import { NixcacheError } from '../../../errors.ts';
import { githubSource } from '../../../github/source.ts';
import { HttpClient } from '../../../http/client.ts';
import { DEFAULT_STORE_DIR, parseStorePath, type StorePath } from '../../../nix/store-path.ts';
import { PATIENT } from '../../../upstream/upstream.ts';
import { type CommandContext, type CommonFlags, sourcesOf } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { openStore, readCredentials } from '../../session/open-store.ts';
import { openUpstreams } from '../../session/open-upstreams.ts';
import { convertedStore } from '../../session/open-writable.ts';
import { Opened } from '../../session/opened.ts';
import { readStandardInput } from '../../standard-input.ts';
import { version } from '../../version.ts';
import { CopyStory, copySummary, formatCopyPlan } from './story.ts';

/** A million paths. */
const MAX_LIST_BYTES = 128 * 1024 * 1024;

export async function runCopy(
  source: string,
  destination: string,
  flags: CopyFlags & CommonFlags,
  context: CommandContext,
): Promise<void> {
  const { output, signal, env } = context;
  const sources = await sourcesOf(flags, context);
  const settings = copySettings(source, destination, sources);
  for (const key of settings.signingKeys) if ('text' in key) output.addSecret(key.text);
  const keys = await readSigningKeys(settings.signingKeys);
  const texts = await pathsOf(settings.paths, flags, context);
  const credentials = await readCredentials(flags, context);
  await using opened = new Opened();
  const http = opened.add(new HttpClient(), (client) => client.destroy());
  const onWarning = (message: string): void => output.warn(message);
  const isToRegistry = settings.destination.reference.kind === 'registry';
  const story = new CopyStory(output);
  const open = async (): Promise<CopyReport> => {
    // The source first: if it cannot be read, the destination is left as it is.
    const from = await openSource(settings, { sources, context, opened, http, isToRegistry, credentials });
    const create = !settings.dryRun;
    const opening = await openStore(settings.destination, context, { create, http, credentials });
    const store = await convertedStore(opening, context, settings);
    const reader = opened.add(
      await IndexReader.open({
        store,
        index: await openDirectoryIndex(indexDirectory(sources, settings.destination), onWarning),
        strict: true,
        onWarning,
      }),
      (each) => each.close(),
    );
    const common: CopyOptions = {
      ...{ destination: store, reader, keys, trustedKeys: settings.trustedKeys, jobs: settings.jobs, signal },
      ...{ dryRun: settings.dryRun, creator: `nixcache ${version()}`, sourceUrl: githubSource(env)?.sourceUrl },
      ...{ run: ulid().toLowerCase(), onEvent: (event) => story.tell(event), now: () => new Date() },
    };
    return await from(common, texts);
  };
  try {
    const report = await open();
    story.end('done');
    output.result(report, () => (report.dryRun ? formatCopyPlan(report) : ''));
    for (const line of copySummary(report)) output.info(line);
    if (report.refused.length > 0) context.exitCode = EXIT.failed;
  } finally {
    story.end('failed');
  }
}

type RunFrom = (options: CopyOptions, paths: readonly string[] | undefined) => Promise<CopyReport>;

interface OpenSource {
  readonly sources: Sources<CommonFlags>;
  readonly context: CommandContext;
  readonly opened: Opened;
  readonly http: HttpClient;
  readonly isToRegistry: boolean;
  readonly credentials: Awaited<ReturnType<typeof readCredentials>>;
}

/** Opens and reads the source, and gives what copies from it. */
async function openSource({ source, rootsOnly }: CopySettings, open: OpenSource): Promise<RunFrom> {
  const { sources, context, opened, http } = open;
  const { output, signal } = context;
  if (source.kind === 'upstream') {
    const settings = [source.upstream];
    const [asking] = openUpstreams(settings, opened, http, { output, patience: PATIENT });
    const storeDir = (await asking?.fetchCacheInfo({ signal }))?.storeDir ?? DEFAULT_STORE_DIR;
    const [upstream] = openUpstreams(settings, opened, http, { output, patience: PATIENT, storeDir });
    if (!upstream) throw new Error('an upstream that is named is opened');
    return (options, texts) =>
      copyUpstream({ ...options, source: upstream, storeDir, paths: texts && toStorePaths(texts, storeDir) });
  }
  // What the user gave is for one registry: the destination, if that is one.
  const credentials = open.isToRegistry ? undefined : open.credentials;
  const store = await openStore(source.cache, context, { create: false, http, credentials });
  const onWarning = (message: string): void => output.warn(message);
  const sourceReader = opened.add(
    await openReader({
      ...{ store, strict: true, onWarning },
      index: await openDirectoryIndex(indexDirectory(sources, source.cache), onWarning),
    }),
    (each) => each.close(),
  );
  await sourceReader.refresh({ signal });
  return (options, texts) => {
    const paths = texts && toStorePaths(texts, sourceReader.storeDir);
    const selection: Selection = paths ? { kind: 'paths', paths } : { kind: rootsOnly ? 'roots' : 'everything' };
    return copyReference({ ...options, source: store, sourceReader, selection });
  };
}

const indexDirectory = (sources: Sources<CommonFlags>, cache: CacheSetting): string =>
  ownIndexDirectory(sources, cache.name);

/** What `--path` names; undefined when it was not given. */
async function pathsOf(
  paths: readonly string[],
  flags: CommonFlags,
  context: CommandContext,
): Promise<readonly string[] | undefined> {
  if (paths.length === 0) return undefined;
  if (!paths.includes('-')) return paths;
  if (flags.passwordStdin) {
    throw new NixcacheError(
      'ERR_USAGE',
      'standard input cannot hold the paths and the password: set NIXCACHE_PASSWORD instead of --password-stdin',
    );
  }
  const list = await readStandardInput(context, { what: 'the list of paths', maxBytes: MAX_LIST_BYTES });
  const lines = list.split('\n').map((line) => line.trim());
  return [...paths.filter((path) => path !== '-'), ...lines.filter((line) => line !== '')];
}

/** A path below a store path stands for that. */
function toStorePaths(texts: readonly string[], storeDir: string): readonly StorePath[] {
  const paths = texts.map((text) => {
    const [name = ''] = text.startsWith(`${storeDir}/`) ? text.slice(storeDir.length + 1).split('/') : [];
    if (name === '') throw new NixcacheError('ERR_USAGE', `--path ${text}: it is not in the Nix store ${storeDir}`);
    return parseStorePath(`${storeDir}/${name}`, storeDir);
  });
  return [...new Set(paths)];
}

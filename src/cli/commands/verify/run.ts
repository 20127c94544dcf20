/** Checks a cache, and heals it. */
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { Mirror } from '../../../cache/read/mirror.ts';
import { ownIndexDirectory, resolveCache } from '../../../config/cache-reference.ts';
import { readSigningKeys } from '../../../config/signing-keys.ts';
import { type VerifyFlags, type VerifySettings, verifySettings } from '../../../config/verify-settings.ts';
import { isNixcacheError, messageOf } from '../../../errors.ts';
import { githubSource } from '../../../github/source.ts';
import { HttpClient } from '../../../http/client.ts';
import { openLocalStore } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore, Deleter } from '../../../oci/content-store.ts';
import { PATIENT } from '../../../upstream/upstream.ts';
import type { LocalSource } from '../../../verify/local-source.ts';
import { hasDamage } from '../../../verify/report.ts';
import { verifyCache } from '../../../verify/verify.ts';
import { type CommandContext, type CommonFlags, sourcesOf } from '../../context.ts';
import { EXIT } from '../../exit-codes.ts';
import { openStore, readCredentials } from '../../session/open-store.ts';
import { openUpstreams } from '../../session/open-upstreams.ts';
import { convertedStore } from '../../session/open-writable.ts';
import { Opened } from '../../session/opened.ts';
import { version } from '../../version.ts';
import { localSource } from './local-source.ts';
import { VerifyStory } from './story.ts';
import { formatVerify, tellVerify, verifyMarkdown, verifyOutputs } from './summary.ts';

export async function runVerify(flags: VerifyFlags & CommonFlags, context: CommandContext): Promise<void> {
  const { output, signal, env } = context;
  const sources = await sourcesOf(flags, context);
  const settings = verifySettings(sources);
  const cache = resolveCache(sources);
  const credentials = await readCredentials(flags, context);
  await using opened = new Opened();
  const http = opened.add(new HttpClient(), (client) => client.destroy());
  const store = await ofOurLayout(
    await openStore(cache, context, { create: false, http, credentials }),
    settings,
    context,
  );
  const onWarning = (message: string): void => output.warn(message);
  const index = await openDirectoryIndex(ownIndexDirectory(sources, cache.name), onWarning);
  const mirror = await Mirror.open({ cache: store.name, index, isChecked: true, onWarning });
  const local = settings.repair ? await openLocal(store, settings, context) : undefined;
  const story = new VerifyStory(output);
  try {
    const report = await verifyCache({
      ...{ store, mirror, signal, creator: `nixcache ${version()}`, sourceUrl: githubSource(env)?.sourceUrl },
      upstreams: openUpstreams(settings.upstreams, opened, http, { output, patience: PATIENT }),
      trustedPublicKeys: settings.trustedPublicKeys,
      contents: settings.contents,
      repair: settings.repair ? { ...settings, local } : undefined,
      onEvent: (event) => story.tell(event),
      now: () => new Date(),
    });
    story.end();
    output.result({ cache: store.name, clean: !hasDamage(report), ...report }, () => formatVerify(report));
    tellVerify(report, store.name, output);
    await output.stepSummary(verifyMarkdown(report, store.name));
    await output.stepOutputs(verifyOutputs(report));
    if (hasDamage(report)) context.exitCode = EXIT.damage;
  } finally {
    story.drop();
  }
}

/** A cache of the older layout is looked at as if it were converted; a repair converts it. */
async function ofOurLayout(
  store: ContentStore & Deleter,
  { repair, dryRun }: VerifySettings,
  context: CommandContext,
): Promise<ContentStore> {
  try {
    return await convertedStore<ContentStore>(store, context, { dryRun: !repair || dryRun });
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_DIGEST_MISMATCH', 'ERR_NOT_FOUND')) throw error;
    return store; // what is damaged there is what verify is for
  }
}

/** Undefined where there is no Nix: then only upstreams can help. */
async function openLocal(
  store: ContentStore,
  settings: VerifySettings,
  { output, cwd, env, signal }: CommandContext,
): Promise<LocalSource | undefined> {
  for (const source of settings.signingKeys) if ('text' in source) output.addSecret(source.text);
  const keys = await readSigningKeys(settings.signingKeys);
  try {
    const localStore = await openLocalStore({ command: new NixCommand({ cwd }), signal });
    const { compression } = settings;
    const sourceUrl = githubSource(env)?.sourceUrl;
    return localSource({ store, localStore, keys, compression, creator: `nixcache ${version()}`, sourceUrl, output });
  } catch (error) {
    signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_NIX', 'ERR_USAGE')) throw error;
    output.warn(`nothing can be pushed from the local Nix store: ${messageOf(error)}`);
    return undefined;
  }
}

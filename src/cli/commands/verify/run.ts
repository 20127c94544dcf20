/** Checks a cache, and heals it. */

import { Mirror } from '../../../cache/read/mirror.ts';
import { infosInOrder } from '../../../cache/write/references-first.ts';
import { type VerifySettings, verifySettings } from '../../../config/verify-settings.ts';
import { isNixcacheError, messageOf } from '../../../errors.ts';
import type { Compression } from '../../../nar/nar-job.ts';
import type { SecretKey } from '../../../nix/signature.ts';
import { storeDirOf } from '../../../nix/store-path.ts';
import { type LocalStore, openLocalStore } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { pushPaths } from '../../../publish/push-paths.ts';
import { PATIENT } from '../../../upstream/patience.ts';
import type { VerifyEvent, VerifyStage } from '../../../verify/events.ts';
import type { LocalSource } from '../../../verify/local-source.ts';
import { hasDamage } from '../../../verify/report.ts';
import { verifyCache } from '../../../verify/verify.ts';
import type { Call } from '../../command.ts';
import { EXIT } from '../../exit-codes.ts';
import { convertStore } from '../../session/convert-store.ts';
import { Session } from '../../session/session.ts';
import type { Output } from '../../ui/output.ts';
import { Story, type Telling } from '../../ui/story.ts';
import { formatVerify, tellVerify, verifyMarkdown, verifyOutputs } from './summary.ts';

export async function runVerify(call: Call): Promise<void> {
  const { output, signal } = call.context;
  await using session = await Session.open(call);
  const settings = verifySettings(session.sources);
  const store = await session.store();
  const legacy = await legacyPolicy(store, session, settings);
  const { onWarning } = session;
  const mirror = await Mirror.open({
    cache: store.name,
    index: await session.index(session.cache, onWarning),
    use: 'recall',
    onWarning,
  });
  const local = settings.repair ? await openLocal(store, settings, session) : undefined;
  using story = new Story(output, VERIFY_TELLING);
  const report = await verifyCache({
    ...session.provenance,
    ...{ store, mirror, legacy, signal },
    upstreams: session.upstreams(settings.upstreams, { patience: PATIENT, tellsWaits: true }),
    trustedPublicKeys: settings.trustedPublicKeys,
    contents: settings.contents,
    repair: settings.repair ? { ...settings, local } : undefined,
    onEvent: (event) => story.tell(event),
    now: settings.repair ? await session.clock(store) : () => new Date(),
  });
  story.end();
  output.result({ cache: store.name, clean: !hasDamage(report), ...report }, () => formatVerify(report));
  tellVerify(report, store.name, output);
  await output.stepSummary(verifyMarkdown(report, store.name));
  await output.stepOutputs(verifyOutputs(report));
  if (hasDamage(report)) call.context.exitCode = EXIT.damage;
}

/** A cache of the older layout is looked at as if it were converted; a repair converts it. */
async function legacyPolicy(
  store: ContentStore,
  session: Session,
  { repair, dryRun }: VerifySettings,
): Promise<'read' | undefined> {
  if (!repair) return 'read';
  const { context, provenance } = session;
  try {
    await convertStore(store, context, provenance, { dryRun, now: await session.clock(store) });
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_DIGEST_MISMATCH', 'ERR_NOT_FOUND')) throw error;
    // What is damaged there is what verify is for.
  }
  return dryRun ? 'read' : undefined;
}

/** Undefined where there is no Nix: then only upstreams can help. */
async function openLocal(
  store: ContentStore,
  { signingKeys, compression }: VerifySettings,
  session: Session,
): Promise<LocalSource | undefined> {
  const { output, cwd, signal } = session.context;
  const keys = await session.signingKeys(signingKeys);
  try {
    const localStore = await openLocalStore({ command: new NixCommand({ cwd }), signal });
    const now = await session.clock(store);
    return localSource({ ...session.provenance, store, localStore, keys, compression, output, now });
  } catch (error) {
    signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_NIX', 'ERR_USAGE')) throw error;
    output.warn(`nothing can be pushed from the local Nix store: ${messageOf(error)}`);
    return undefined;
  }
}

const STAGES: Readonly<Record<VerifyStage, string>> = {
  read: 'reading the cache',
  blobs: 'looking for blobs',
  closure: 'checking closures',
  contents: 'reading NARs',
  plan: 'planning the repair',
  repair: 'repairing',
  again: 'verifying again',
};

const VERIFY_TELLING: Telling<VerifyEvent> = {
  stage: ({ stage }, story) => story.stage(STAGES[stage]),
  segments: (event, story) => story.reach('read', 'segment', event),
  blobs: (event, story) => story.reach('find', 'blob', event),
  upstream: (event, story) => story.reach('upstream', 'path', event),
  'contents-planned': ({ nars, bytes }, story) => {
    story.end();
    story.task('verify', { noun: 'NAR', totalItems: nars, totalBytes: bytes });
  },
  contents: ({ nars, fileBytes: bytes }, story) => story.running('verify')?.advance({ items: nars, bytes }),
  repaired: ({ message }, { output }) => output.info(message),
  warning: ({ message }, { output }) => output.warn(message),
};

/** How to make other bytes than those that lie damaged in the cache, about as small. */
function otherThan(unlike: string, usual: Compression): Compression {
  if (unlike !== usual.method) return usual;
  return unlike === 'zstd' ? { ...usual, checksum: true } : { method: 'zstd' };
}

interface LocalSourceOptions {
  readonly store: ContentStore;
  readonly localStore: LocalStore;
  readonly keys: readonly SecretKey[];
  readonly compression: Compression;
  readonly creator: string;
  readonly sourceUrl: string | undefined;
  readonly output: Output;
  readonly now: () => Date;
}

function localSource(options: LocalSourceOptions): LocalSource {
  const { store, localStore, keys, compression, creator, sourceUrl, output, now } = options;
  return {
    signs: keys.length > 0,
    async queryValid(paths, { signal }) {
      const ours = paths.filter((path) => storeDirOf(path) === localStore.storeDir);
      const valid = [...(await localStore.queryValidPaths(ours, { signal }))];
      return valid.length > 0 ? localStore.queryPathInfos(valid, { signal }) : [];
    },
    queryClosure: (paths, { signal }) => localStore.queryClosure(paths, { signal }),
    async push({ infos, unlike, signal }) {
      const outcome = await pushPaths({
        ...{ store, keys, creator, sourceUrl, signal, storeDir: localStore.storeDir },
        push: infosInOrder(infos),
        asserted: [],
        roots: [],
        compression: unlike === undefined ? compression : otherThan(unlike, compression),
        contentPath: ({ path }) => localStore.contentPath(path),
        isValid: async (path) => (await localStore.queryValidPaths([path], { signal })).has(path),
        onEvent: (event) => {
          if (event.type === 'warning') output.warn(event.message);
        },
        now,
      });
      if (outcome.stopped) throw outcome.stopped.cause;
      return outcome.failed;
    },
  };
}

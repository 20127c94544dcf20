/** Checks a cache, and heals it. */
import { Mirror } from '../../../cache/read/mirror.ts';
import { type VerifySettings, verifySettings } from '../../../config/verify-settings.ts';
import { isNixcacheError, messageOf } from '../../../errors.ts';
import { openLocalStore } from '../../../nix-store/local-store.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { PATIENT } from '../../../upstream/upstream.ts';
import type { LocalSource } from '../../../verify/local-source.ts';
import { hasDamage } from '../../../verify/report.ts';
import { verifyCache } from '../../../verify/verify.ts';
import type { Call } from '../../command.ts';
import { EXIT } from '../../exit-codes.ts';
import { convertStore } from '../../session/convert-store.ts';
import { Session } from '../../session/session.ts';
import { Story } from '../../ui/story.ts';
import { localSource } from './local-source.ts';
import { VERIFY_TELLING } from './story.ts';
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
    upstreams: session.upstreams(settings.upstreams, { patience: PATIENT }),
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
  if (hasDamage(report)) call.context.exitCode = EXIT.damage;
}

/** A cache of the older layout is looked at as if it were converted; a repair converts it. */
async function legacyPolicy(
  store: ContentStore,
  { context, provenance }: Session,
  { repair, dryRun }: VerifySettings,
): Promise<'read' | undefined> {
  if (!repair || dryRun) return 'read';
  try {
    await convertStore(store, context, provenance, { dryRun: false });
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_DIGEST_MISMATCH', 'ERR_NOT_FOUND')) throw error;
    // What is damaged there is what verify is for.
  }
  return undefined;
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
    return localSource({ ...session.provenance, store, localStore, keys, compression, output });
  } catch (error) {
    signal.throwIfAborted();
    if (!isNixcacheError(error, 'ERR_NIX', 'ERR_USAGE')) throw error;
    output.warn(`nothing can be pushed from the local Nix store: ${messageOf(error)}`);
    return undefined;
  }
}

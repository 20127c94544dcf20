/** Builds a flake and publishes what it gives. */
import { ulid } from 'ulid';
import { publishSettings } from '../../../config/publish-settings.ts';
import { keyFilesOf } from '../../../config/signing-keys.ts';
import { NixcacheError } from '../../../errors.ts';
import { githubSource } from '../../../github/source.ts';
import { directoryOf } from '../../../nix-store/file-source.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import { type PublishResult, publish, type Substituter } from '../../../publish/publish.ts';
import { startServer } from '../../../serve/node/server.ts';
import type { Call } from '../../command.ts';
import { EXIT, type ExitCode } from '../../exit-codes.ts';
import { Session } from '../../session/session.ts';
import { Story } from '../../ui/story.ts';
import { hasFlake } from '../discover/run.ts';
import { openPublisher, type Publisher, warnUnsigned } from './open-publisher.ts';
import { interruptedAt } from './stopped.ts';
import { publishTelling } from './story.ts';
import { exitCodeForLosses, tellPublished } from './tell.ts';

export async function runPublish(call: Call): Promise<void> {
  const { context } = call;
  const startedMs = performance.now();
  await using session = await Session.open(call);
  const settings = publishSettings(call.args[0], session.sources, hasFlake);
  const { systems, dryRun } = settings;
  if (systems === 'all') {
    throw new NixcacheError(
      'ERR_USAGE',
      '--system all: publish builds, so name the systems that this machine or its builders can build; discover takes all',
    );
  }
  if (typeof settings.source === 'object') await directoryOf(settings.source.file); // before a cache is made
  const { nixOptions, acceptFlakeConfig } = settings;
  const command = new NixCommand({ cwd: context.cwd, settings: nixOptions, acceptFlakeConfig });
  const publisher = await openPublisher(session, settings, { command });
  warnUnsigned(publisher, context.output);
  using story = new Story(context.output, publishTelling());
  const published = await publish({
    ...settings,
    ...publisher,
    ...session.provenance,
    ...githubSource(context.env, settings.source),
    ...{ systems, signal: context.signal, run: ulid().toLowerCase(), workers: settings.jobs },
    secretFiles: keyFilesOf(settings.signingKeys),
    startSubstituter: publisher.keys.length === 0 ? undefined : () => startSubstituter(publisher),
    onEvent(event) {
      if (event.type === 'stage') context.interrupted = interruptedAt(event.stage, { builds: true });
      story.tell(event);
    },
    now: await session.clock(publisher.store),
  });
  if (published.outcome?.stopped) story.drop();
  else story.end();
  const durationMs = performance.now() - startedMs;
  const stopped = await tellPublished({ published, flake: published, dryRun, durationMs }, publisher, session);
  context.exitCode = stopped ?? exitCodeForLosses(published, settings) ?? exitCodeFor(published);
}

function exitCodeFor({ outputs, evaluationFailures }: PublishResult): ExitCode {
  const failed = outputs.filter(({ status }) => status === 'failed').length;
  if (failed + evaluationFailures.length === 0) return EXIT.done;
  return failed === outputs.length ? EXIT.failed : EXIT.partial;
}

/**
 * The cache as a substituter for the builds. It gives only what is signed by our own keys, also where Nix would take
 * anything: what is built from here is signed as ours. So without a key there is no point in one, and what the cache says
 * its keys are is not trusted for building.
 */
async function startSubstituter({ reader, keys }: Publisher): Promise<Substituter> {
  const trustedPublicKeys = keys.map(({ publicKey }) => publicKey);
  const publicKeys = trustedPublicKeys.map(({ text }) => text);
  const server = await startServer({ reader, publicKeys, trustedPublicKeys, port: 0, priority: 1 });
  return { url: server.url, publicKeys, close: () => server.close() };
}

/** Copies a cache into another. */

import { ulid } from 'ulid';
import { type CopySettings, copySettings } from '../../../config/copy-settings.ts';
import type { CopyEvent, CopyOptions, CopyReport, CopyStage } from '../../../copy/copy-options.ts';
import { copyReference, type Selection } from '../../../copy/copy-reference.ts';
import { copyUpstream } from '../../../copy/copy-upstream.ts';
import { DEFAULT_STORE_DIR, type StorePath } from '../../../nix/store-path.ts';
import { formatBytes, formatCount, formatNumber } from '../../../quantity.ts';
import { PATIENT } from '../../../upstream/patience.ts';
import type { Call } from '../../command.ts';
import { EXIT } from '../../exit-codes.ts';
import { Session } from '../../session/session.ts';
import { readPathList } from '../../standard-input.ts';
import { resolveStorePath } from '../../store-path-argument.ts';
import { Story, type Telling } from '../../ui/story.ts';
import { formatTable } from '../../ui/table.ts';

export async function runCopy(call: Call): Promise<void> {
  const { output, signal } = call.context;
  await using session = await Session.open(call);
  const settings = copySettings(call.args, session.sources);
  const keys = await session.signingKeys(settings.signingKeys);
  const [, , ...named] = call.args;
  const texts = named.length === 0 ? undefined : await readPathList(named, call);
  using story = new Story(output, copyTelling());
  // The source first: if it cannot be read, the destination is left as it is.
  const copy = await openSource(settings, texts, session);
  const cache = settings.destination;
  const { dryRun } = settings;
  const store = await session.store({ cache, create: !dryRun });
  const reader = await session.writersReader(store, { dryRun }, cache);
  const options: CopyOptions = {
    ...session.provenance,
    ...{ destination: store, reader, keys, trustedKeys: settings.trustedKeys, jobs: settings.jobs, signal },
    ...{ dryRun, run: ulid().toLowerCase() },
    onEvent: (event) => story.tell(event),
    now: await session.clock(store),
  };
  const report = await copy(options);
  story.end();
  output.result(report, () => (report.dryRun ? formatCopyPlan(report) : ''));
  for (const line of copySummary(report)) output.info(line);
  if (report.refused.length > 0) call.context.exitCode = EXIT.failed;
}

type Copy = (options: CopyOptions) => Promise<CopyReport>;

/** Opens and reads the source, and gives what copies the paths `texts` from it, or without any what the settings say. */
async function openSource(
  { source, destination, names }: CopySettings,
  texts: readonly string[] | undefined,
  session: Session,
): Promise<Copy> {
  const { signal } = session.context;
  if (source.kind === 'upstream') {
    const settings = [source.upstream];
    const [asking] = session.upstreams(settings, { patience: PATIENT, tellsWaits: true });
    const storeDir = (await asking?.fetchCacheInfo({ signal }))?.storeDir ?? DEFAULT_STORE_DIR;
    const [upstream] = session.upstreams(settings, { patience: PATIENT, tellsWaits: true, storeDir });
    if (!upstream) throw new Error('an upstream that is named is opened');
    const paths = texts && (await storePathsOf(texts, storeDir, session));
    return (options) => copyUpstream({ ...options, source: upstream, storeDir, paths });
  }
  const { cache } = source;
  // What the user gave is for one registry: the destination, if that is one.
  const credentials = destination.reference.kind === 'registry' ? undefined : await session.credentials();
  const store = await session.store({ cache, credentials });
  const sourceReader = await session.reader(store, { strict: true, legacy: 'read' }, cache);
  await sourceReader.refresh({ signal });
  const paths = await storePathsOf(texts ?? [], sourceReader.storeDir, session);
  const isAll = texts === undefined && names.length === 0;
  const selection: Selection = isAll ? { kind: 'everything' } : { kind: 'some', names, paths };
  return (options) => copyReference({ ...options, source: store, sourceReader, selection });
}

async function storePathsOf(
  texts: readonly string[],
  storeDir: string,
  { context: { cwd } }: Session,
): Promise<readonly StorePath[]> {
  const paths = await Promise.all(texts.map((text) => resolveStorePath(text, { storeDir, cwd, what: 'copy' })));
  return [...new Set(paths)];
}

const STAGES: Readonly<Record<CopyStage, string>> = {
  read: 'reading what there is',
  copy: 'copying',
  commit: 'committing',
};

function copyTelling(): Telling<CopyEvent> {
  let planned = { paths: 0, bytes: 0 };
  let done = 0;
  let sent = 0;
  return {
    stage({ stage }, story) {
      story.stage(STAGES[stage]);
      if (stage !== 'copy' || planned.paths === 0) return;
      story.task('copy', { totalItems: planned.paths, totalBytes: planned.bytes });
    },
    'looked-up': ({ paths }, story) => story.task('narinfo').reach({ items: paths }),
    planned(event, story) {
      story.end();
      planned = event;
      story.output.info(`to copy: ${formatCount(event.paths, 'path')}, ${formatBytes(event.bytes)}`);
    },
    uploaded({ bytes }, story) {
      // What lists the paths is sent too, and was not planned.
      const counted = Math.min(bytes, planned.bytes - sent);
      sent += counted;
      story.running('copy')?.advance({ bytes: counted });
    },
    committed({ tag, entries, paths }, story) {
      // What is there is written again where it gets a signature, and was not planned.
      done = Math.min(planned.paths, done + paths);
      story.running('copy')?.reach({ items: done });
      story.output.detail(`committed ${tag} with ${formatCount(entries, 'entry', 'entries')}`);
    },
    refused: ({ path, reason }, { output }) => output.warn(`${path} is not copied: ${reason}`),
    warning: ({ message }, { output }) => output.warn(message),
  };
}

/** `--dry-run` on stdout. */
const formatCopyPlan = ({ copied, existed, refused }: CopyReport): string =>
  formatTable(
    ['', 'PATHS', 'BYTES'],
    [
      ['would be copied', formatNumber(copied.paths), formatBytes(copied.bytes)],
      ['at the destination', formatNumber(existed.paths), ''],
      ['left out', formatNumber(refused.length), ''],
    ],
    { right: [1, 2] },
  );

/** The end of the story, line by line. */
function copySummary(report: CopyReport): readonly string[] {
  const { destination, dryRun, copied, existed, uploadedBytes, refused, absent } = report;
  const lines = dryRun
    ? ['dry run: nothing was copied']
    : [
        `copied ${formatCount(copied.paths, 'path')} to ${destination} (${formatBytes(uploadedBytes)} sent); ${existed.paths} were there already`,
      ];
  if (copied.paths + existed.paths + refused.length === 0) lines.push('the source has nothing of that');
  if (absent > 0) {
    lines.push(`${formatCount(absent, 'reference')} not in the source: clients need another cache that has them`);
  }
  if (refused.length > 0) lines.push(`${formatCount(refused.length, 'path')} left out`);
  return lines;
}

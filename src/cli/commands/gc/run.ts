/** Drops what no root needs any more. */
import { gcSettings } from '../../../config/gc-settings.ts';
import { runGc as collect } from '../../../gc/gc.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import type { Call } from '../../command.ts';
import { Session } from '../../session/session.ts';
import { Story } from '../../ui/story.ts';
import { openDeleter } from './open-deleter.ts';
import { GC_TELLING } from './story.ts';
import { formatDropped, gcMarkdown, gcOutputs, tellGc } from './summary.ts';

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
    ...{ store, deleter, reader, signal },
    onEvent: (event) => story.tell(event),
    now: () => new Date(),
  });
  story.end();
  if (reader.view?.tags.size === 0) output.warn(`there is no cache at ${store.name}: is the reference right?`);
  output.result({ cache: store.name, ...report }, () =>
    report.dryRun ? formatDropped(report, output.tableWidth) : '',
  );
  tellGc(report, store.name, output);
  await output.stepSummary(gcMarkdown(report, store.name));
  await output.stepOutputs(gcOutputs(report));
}

/** Drops what no root needs any more. */
import { openDirectoryIndex } from '../../../cache/disk/directory-index.ts';
import { IndexReader } from '../../../cache/read/index-reader.ts';
import { ownIndexDirectory, resolveCache } from '../../../config/cache-reference.ts';
import { type GcFlags, gcSettings } from '../../../config/gc-settings.ts';
import type { GcEvent, GcStage } from '../../../gc/events.ts';
import { runGc as collect } from '../../../gc/gc.ts';
import { githubSource } from '../../../github/source.ts';
import { HttpClient } from '../../../http/client.ts';
import type { ContentStore } from '../../../oci/content-store.ts';
import { type CommandContext, type CommonFlags, sourcesOf } from '../../context.ts';
import { openStore, readCredentials } from '../../session/open-store.ts';
import { convertedStore } from '../../session/open-writable.ts';
import { Opened } from '../../session/opened.ts';
import { formatCount } from '../../ui/format.ts';
import type { Output } from '../../ui/output.ts';
import type { ProgressTask } from '../../ui/progress.ts';
import { version } from '../../version.ts';
import { openDeleter } from './open-deleter.ts';
import { formatDropped, gcMarkdown, gcOutputs, tellGc } from './summary.ts';

export async function runGc(flags: GcFlags & CommonFlags, context: CommandContext): Promise<void> {
  const { output, signal, env } = context;
  const sources = await sourcesOf(flags, context);
  const settings = gcSettings(sources);
  const cache = resolveCache(sources);
  const credentials = await readCredentials(flags, context);
  await using opened = new Opened();
  const http = opened.add(new HttpClient(), (client) => client.destroy());
  const opening = await openStore(cache, context, { create: false, http, credentials });
  const store: ContentStore = await convertedStore<ContentStore>(opening, context, settings);
  const deleter = settings.dryRun ? undefined : await openDeleter(cache, context, { http, credentials });
  const reader = opened.add(
    await IndexReader.open({
      ...{ store, strict: true },
      index: await openDirectoryIndex(ownIndexDirectory(sources, cache.name), (message) => output.warn(message)),
      onWarning: (message) => output.warn(message),
    }),
    (each) => each.close(),
  );
  const story = new GcStory(output);
  try {
    const report = await collect({
      ...settings,
      ...{ store, deleter, reader, signal, creator: `nixcache ${version()}`, sourceUrl: githubSource(env)?.sourceUrl },
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
  } finally {
    story.drop();
  }
}

const TITLES: Readonly<Record<GcStage, string>> = {
  read: 'reading the cache',
  plan: 'planning',
  write: 'writing what is kept',
  delete: 'deleting what was replaced',
  sweep: 'freeing storage',
};

class GcStory {
  readonly #output: Output;
  #task: ProgressTask | undefined;

  constructor(output: Output) {
    this.#output = output;
  }

  tell(event: GcEvent): void {
    const output = this.#output;
    switch (event.type) {
      case 'stage':
        this.end();
        output.info(TITLES[event.stage]);
        break;
      case 'segment-read':
        this.#reach('read', 'segment', event);
        break;
      case 'deleted':
        this.#reach('delete', 'manifest', event);
        break;
      case 'pack-written':
        output.detail(`wrote a pack of ${event.bytes} bytes`);
        break;
      case 'segment-written':
        output.detail(`wrote ${event.tag} with ${formatCount(event.entries, 'entry', 'entries')}`);
        break;
      case 'checkpoint-written':
        output.detail(`wrote ${event.tag}: what was dropped is gone for readers`);
        break;
      case 'warning':
        output.warn(event.message);
        break;
    }
  }

  end(): void {
    this.#task?.done();
    this.#task = undefined;
  }

  drop(): void {
    this.#task?.drop();
    this.#task = undefined;
  }

  #reach(title: string, noun: string, { done, total }: { readonly done: number; readonly total: number }): void {
    this.#task ??= this.#output.startProgress(title, { noun, totalItems: total });
    this.#task.reach({ items: done });
  }
}

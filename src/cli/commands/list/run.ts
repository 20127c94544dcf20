/** Shows what is in a cache. */
import type { Catalog } from '../../../catalog/catalog.ts';
import { type ListedEntry, listEntries } from '../../../catalog/entry-list.ts';
import { listRoots, pathFilter, summarise } from '../../../catalog/summary.ts';
import { EntryGraph } from '../../../census/entry-graph.ts';
import { resolveAll } from '../../../config/setting.ts';
import type { Call } from '../../command.ts';
import { openCatalog } from '../../session/open-catalog.ts';
import { Session } from '../../session/session.ts';
import { formatCount } from '../../ui/format.ts';
import type { Output } from '../../ui/output.ts';
import { LIST } from './settings.ts';
import { formatEntryLine, formatPins, formatRoots, formatSummary, pinsJson, rootsJson } from './text.ts';

export async function runList(call: Call): Promise<void> {
  const [glob] = call.args;
  const { output } = call.context;
  await using session = await Session.open(call);
  const shows = resolveAll(LIST, session.sources);
  const { catalog } = await openCatalog(session, { strict: false });
  const { reader } = catalog;
  const cache = reader.name;
  const matches = pathFilter(glob, reader.storeDir);
  if (shows.entries) {
    printEntries(listEntries(reader, matches), output);
    return;
  }
  const pins = catalog.currentPins.filter(({ name, path }) => path !== undefined && matches(path, name));
  if (shows.pins) {
    output.result({ cache, pins: pinsJson(pins, catalog) }, () => formatPins(pins, output.tableWidth));
    if (pins.length === 0) output.info(nothing('pin', glob, catalog));
    return;
  }
  const graph = EntryGraph.of(reader.entries());
  const roots = listRoots(catalog, graph, matches);
  if (shows.roots) {
    output.result({ cache, roots: rootsJson(roots, catalog) }, () => formatRoots(roots, output.tableWidth));
    if (roots.length === 0) output.info(nothing('root', glob, catalog));
    return;
  }
  const { total, signers, ...summary } = summarise(catalog, graph);
  output.result(
    {
      ...{ cache, entries: total.paths, narBytes: total.narBytes, fileBytes: total.fileBytes },
      ...{ ...summary, signedBy: signers, roots: rootsJson(roots, catalog), pins: pinsJson(pins, catalog) },
    },
    () => {
      const tables = [formatRoots(roots, output.tableWidth), formatPins(pins, output.tableWidth)];
      return [formatSummary({ total, signers, ...summary }, cache), ...tables]
        .filter((text) => text !== '')
        .join('\n\n');
    },
  );
  if (total.paths === 0) output.info(`nothing was published to ${cache} yet: nixcache publish`);
}

const nothing = (noun: string, glob: string | undefined, { reader }: Catalog): string =>
  `${reader.name} has no ${noun}${glob === undefined ? '' : ` that matches ${glob}`}`;

/** Lines written at once: a write for each would take most of the time. */
const LINES_PER_WRITE = 500;

/** One a line, as they come: nothing is held but what is written at once. */
function printEntries(entries: Iterable<ListedEntry>, output: Output): void {
  let lines: string[] = [];
  let count = 0;
  const flush = (): void => {
    if (lines.length > 0) output.line(lines.join('\n'));
    lines = [];
  };
  for (const entry of entries) {
    count++;
    lines.push(output.json ? JSON.stringify(entry) : formatEntryLine(entry));
    if (lines.length === LINES_PER_WRITE) flush();
  }
  flush();
  output.info(formatCount(count, 'entry', 'entries'));
}

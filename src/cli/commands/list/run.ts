/** Shows what is in a cache. */
import type { Catalog } from '../../../catalog/catalog.ts';
import { type ListedEntry, listEntries } from '../../../catalog/entry-list.ts';
import { listRoots, pathFilter, summarise } from '../../../catalog/summary.ts';
import { EntryGraph } from '../../../census/entry-graph.ts';
import { LIST } from '../../../config/list-settings.ts';
import { resolveAll } from '../../../config/setting.ts';
import { NixcacheError } from '../../../errors.ts';
import { formatCount } from '../../../quantity.ts';
import type { Call } from '../../command.ts';
import { openCatalog } from '../../session/open-catalog.ts';
import { Session } from '../../session/session.ts';
import type { Output } from '../../ui/output.ts';
import {
  ENTRY_HEAD,
  formatEntries,
  formatEntryLine,
  formatPins,
  formatRoots,
  formatSummary,
  pinsJson,
  rootsJson,
} from './text.ts';

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
    const count = printEntries(listEntries(reader, matches), output);
    if (glob !== undefined && count === 0) throw nothingLike(glob, 'entry', catalog);
    output.info(formatCount(count, 'entry', 'entries'));
    return;
  }
  const pins = catalog.currentPins.filter(({ name, path }) => path !== undefined && matches(path, name));
  if (glob !== undefined && pins.length === 0 && shows.pins) throw nothingLike(glob, 'pin', catalog);
  if (shows.pins) {
    output.result({ cache, pins: pinsJson(pins, catalog) }, () => formatPins(pins, output.tableWidth));
    if (pins.length === 0) output.info(`${cache} has no pins`);
    return;
  }
  const graph = EntryGraph.of(reader.entries());
  const roots = listRoots(catalog, graph, matches);
  if (glob !== undefined && roots.length === 0) {
    if (shows.roots) throw nothingLike(glob, 'root', catalog);
    if (pins.length === 0) throw nothingLike(glob, 'root or pin', catalog);
  }
  if (shows.roots) {
    output.result({ cache, roots: rootsJson(roots, catalog) }, () => formatRoots(roots, output.tableWidth));
    if (roots.length === 0) output.info(`${cache} has no roots`);
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
      return [formatSummary({ total, signers, ...summary }, cache, output.tableWidth), ...tables]
        .filter((text) => text !== '')
        .join('\n\n');
    },
  );
  if (total.paths === 0) output.info(`nothing was published to ${cache} yet: nixcache publish`);
}

/** What a glob selects is asked for: nothing is not the answer, but a mistake in the glob or in the cache. */
const nothingLike = (glob: string, noun: string, { reader }: Catalog): NixcacheError =>
  new NixcacheError(
    'ERR_NOT_FOUND',
    `${reader.name} has no ${noun} that matches '${glob}'; ${ADVICE[noun] ?? 'nixcache list shows all there are'}`,
  );

const ADVICE: Readonly<Record<string, string>> = {
  entry: 'nixcache list --entries shows all there are',
  'root or pin': '--entries looks at every store path; nixcache list shows all roots and pins',
};

/** Lines written at once: a write for each would take most of the time. */
const LINES_PER_WRITE = 500;

/** As many as a person scrolls through; their columns are made to fit the terminal. */
const MAX_FITTED = 5000;

/** How many there were. */
function printEntries(entries: Iterator<ListedEntry>, output: Output): number {
  const width = output.json ? undefined : output.tableWidth;
  const first: ListedEntry[] = [];
  while (width !== undefined && first.length <= MAX_FITTED) {
    const next = entries.next();
    if (!next.done) first.push(next.value);
    else {
      output.line(first.length === 0 ? '' : formatEntries(first, width), { orNothing: true });
      return first.length;
    }
  }
  return printLines(first, entries, output);
}

/** One a line, as they come: nothing is held but what is written at once. */
function printLines(first: readonly ListedEntry[], rest: Iterator<ListedEntry>, output: Output): number {
  let lines: string[] = output.json ? [] : [ENTRY_HEAD];
  let count = 0;
  const flush = (): void => {
    if (lines.length > 0) output.line(lines.join('\n'));
    lines = [];
  };
  const print = (entry: ListedEntry): void => {
    count++;
    lines.push(output.json ? JSON.stringify(entry) : formatEntryLine(entry));
    if (lines.length === LINES_PER_WRITE) flush();
  };
  first.forEach(print);
  for (let next = rest.next(); !next.done; next = rest.next()) print(next.value);
  if (count > 0) flush();
  return count;
}

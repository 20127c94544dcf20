/** Shows all about one path, root or pin. */
import type { Catalog } from '../../../catalog/catalog.ts';
import { lookUp } from '../../../catalog/look-up.ts';
import { reportName } from '../../../catalog/name-report.ts';
import { reportPath } from '../../../catalog/path-report.ts';
import { EntryGraph } from '../../../census/entry-graph.ts';
import { RETENTION } from '../../../config/gc-settings.ts';
import { resolveAll } from '../../../config/setting.ts';
import { hashPartOf } from '../../../nix/store-path.ts';
import type { Call } from '../../command.ts';
import { EXIT } from '../../exit-codes.ts';
import { openCatalog } from '../../session/open-catalog.ts';
import { Session } from '../../session/session.ts';
import { followPath, tellAmbiguous } from './not-found.ts';
import { formatNameReport, formatPathReport, nameJson, pathJson } from './text.ts';

export async function runInfo(call: Call): Promise<void> {
  const [what = ''] = call.args;
  const { output } = call.context;
  await using session = await Session.open(call);
  const { retainSeconds, keepLast } = resolveAll(RETENTION, session.sources);
  const { catalog } = await openCatalog(session, { strict: false });
  let found = lookUp(what, catalog);
  if (found.kind === 'absent') {
    found = { kind: 'path', hashPart: hashPartOf(await followPath('info', what, catalog, call.context)) };
  }
  if (found.kind === 'ambiguous') {
    tellAmbiguous(what, found.candidates, { output, storeDir: catalog.reader.storeDir });
    call.context.exitCode = EXIT.usage;
    return;
  }
  const text = { retain: formatRetention(retainSeconds), width: output.tableWidth };
  const asked = { graph: graphOf(catalog), policy: { now: Date.now() / 1000, retainSeconds, keepLast } };
  if (found.kind === 'name') {
    const report = reportName(found.name, catalog, asked);
    output.result(nameJson(report, catalog), () => formatNameReport(report, text));
    return;
  }
  const report = reportPath(found.hashPart, catalog, asked);
  output.result(pathJson(report), () => formatPathReport(report, text));
  output.detail(report.narInfoText.trimEnd());
}

/** As one would write it for `--retain`. */
function formatRetention(seconds: number): string {
  const [unit, size] = (
    [
      ['d', 86_400],
      ['h', 3600],
      ['m', 60],
    ] as const
  ).find(([, size]) => seconds % size === 0) ?? ['s', 1];
  return `${seconds / size}${unit}`;
}

const graphOf = ({ reader }: Catalog): EntryGraph => EntryGraph.of(reader.entries());

/** What `list` and `pin` print, for people and as JSON. */

import type { Pin } from '../../../cache-index/records.ts';
import type { Catalog } from '../../../catalog/catalog.ts';
import type { ListedEntry } from '../../../catalog/entry-list.ts';
import type { CatalogSummary, RootSummary } from '../../../catalog/summary.ts';
import { toStorePath } from '../../../nix/store-path.ts';
import { formatBytes, formatCount, formatNumber } from '../../../quantity.ts';
import { closureJson } from '../../json.ts';
import { formatCellTime, formatTime, ofSeconds } from '../../ui/format.ts';
import { formatFields, formatTable } from '../../ui/table.ts';

export function formatSummary(summary: CatalogSummary, cache: string, width: number | undefined): string {
  const { total, segments, checkpoints, newestPublish, signers, unsigned, publicKeys } = summary;
  const signed = signers.map(({ keyName, entries }) => `${keyName} (${formatCount(entries, 'entry', 'entries')})`);
  if (unsigned > 0) signed.push(`nobody (${formatCount(unsigned, 'entry', 'entries')})`);
  const fields: [string, string][] = [
    [
      'entries',
      `${formatCount(total.paths, 'path')}, NARs ${formatBytes(total.narBytes)}, compressed ${formatBytes(total.fileBytes)}`,
    ],
    ['lie in', `${formatCount(segments, 'segment')}, ${formatCount(checkpoints, 'checkpoint')}`],
    ['newest publish', newestPublish === undefined ? 'none' : formatTime(newestPublish)],
    ['signed by', signed.join(', ') || 'nobody'],
    ...publicKeys.map((key, i): [string, string] => [i === 0 ? 'public keys' : '', key]),
    ['roots, pins', `${summary.roots}, ${summary.pins}`],
  ];
  return `${cache}\n${formatFields(fields, width)}`;
}

/** The source has a column only where there are several. */
export function formatRoots(roots: readonly RootSummary[], width: number | undefined): string {
  if (roots.length === 0) return '';
  const hasSources = new Set(roots.map(({ source }) => source)).size > 1;
  return formatTable(
    ['ROOT', ...(hasSources ? ['SOURCE'] : []), 'SYSTEM', 'PUBLISHED (UTC)', 'PATHS', 'CLOSURE', 'STORE PATH'],
    roots.map(({ name, source, system, newest, closure }) => [
      name,
      ...(hasSources ? [source ?? ''] : []),
      system ?? '',
      formatCellTime(ofSeconds(newest.time)),
      formatNumber(closure.paths),
      formatBytes(closure.narBytes),
      newest.path,
    ]),
    { width, right: hasSources ? [4, 5] : [3, 4] },
  );
}

export function formatPins(pins: readonly Pin[], width: number | undefined): string {
  if (pins.length === 0) return '';
  return formatTable(
    ['PIN', 'SINCE (UTC)', 'STORE PATH'],
    pins.map(({ name, path, time }) => [name, formatCellTime(ofSeconds(time)), path ?? '']),
    { width },
  );
}

/** `  1.2 MiB   400 KiB  2026-11-20 13:37   /nix/store/…`: NAR, compressed, last asserted. */
export const formatEntryLine = ({ path, narBytes, fileBytes, asserted }: ListedEntry): string =>
  `${formatBytes(narBytes).padStart(8)}  ${formatBytes(fileBytes).padStart(8)}  ${formatCellTime(asserted)}   ${path}`;

/** Above them. */
export const ENTRY_HEAD = `${'NAR'.padStart(8)}  ${'STORED'.padStart(8)}  LAST PUSHED (UTC)  STORE PATH`;

/** The same for a terminal, which a path may be too long for. */
export const formatEntries = (entries: readonly ListedEntry[], width: number): string =>
  formatTable(
    ['STORE PATH', 'NAR', 'STORED', 'LAST PUSHED (UTC)'],
    entries.map(({ path, narBytes, fileBytes, asserted }) => [
      ...[path, formatBytes(narBytes), formatBytes(fileBytes), formatCellTime(asserted)],
    ]),
    { width, right: [1, 2] },
  );

export const rootsJson = (roots: readonly RootSummary[], { reader }: Catalog): unknown =>
  roots.map(({ name, system, source, newest, records, closure }) => ({
    ...{ name, system, source, revision: newest.revision },
    path: toStorePath(newest.path, reader.storeDir),
    published: ofSeconds(newest.time),
    records,
    closure: closureJson(closure),
  }));

export const pinsJson = (pins: readonly Pin[], { reader }: Catalog): unknown =>
  pins.map(({ name, path, time }) => ({
    name,
    path: path && toStorePath(path, reader.storeDir),
    pinned: ofSeconds(time),
  }));

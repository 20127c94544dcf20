/** What `info` prints, for people and as JSON. */

import { formatExtents } from '../../../cache-index/extent.ts';
import type { Catalog } from '../../../catalog/catalog.ts';
import type { NameReport } from '../../../catalog/name-report.ts';
import type { PathReport } from '../../../catalog/path-report.ts';
import type { ClosureSizes } from '../../../census/entry-graph.ts';
import type { KeepReason } from '../../../census/retention.ts';
import { type BaseName, baseNameOf, storeDirOf, toStorePath } from '../../../nix/store-path.ts';
import { formatBytes, formatCount } from '../../../quantity.ts';
import { closureJson, pathsJson, pinJson, reasonJson, rootJson } from '../../json.ts';
import { formatTime, ofSeconds } from '../../ui/format.ts';
import { formatFields, formatTable } from '../../ui/table.ts';

/** Of a list that could have thousands. */
const MAX_SHOWN = 20;

export interface InfoTextOptions {
  /** `--retain` as the user wrote it, or the default. */
  readonly retain: string;
  readonly width: number | undefined;
}

export function formatPathReport(report: PathReport, { retain, width }: InfoTextOptions): string {
  const { entry, segment, asserted, signatures, closure, dependents, roots, pins } = report;
  const { narInfo, nar, listing, leftOut } = entry;
  const fields: [string, string][] = [
    ['NAR', `${formatBytes(narInfo.narSize)}, ${narInfo.narHash}`],
    ['compressed', `${formatBytes(narInfo.fileSize)}, ${narInfo.compression}, ${narInfo.fileHash}`],
    ...several(
      'lies in',
      nar.map((extent) => formatExtents([extent])),
    ),
    ['segment', segment],
    ['listing', listing === undefined ? 'none' : 'yes'],
    ['last pushed', formatTime(asserted)],
    ['deriver', narInfo.deriver ?? 'unknown'],
    ...(narInfo.ca === undefined ? [] : [['content address', narInfo.ca] as [string, string]]),
    ...several(
      'signed by',
      signatures.map(({ keyName, verdict }) => `${keyName}${VERDICTS[verdict]}`),
      'nobody',
    ),
    ...(entry.realisations === undefined
      ? []
      : several(
          'realises',
          entry.realisations.map(({ id }) => id),
        )),
    ...several(
      'references',
      narInfo.references.map((name) => (leftOut?.includes(name) ? `${name} (left out on purpose)` : name)),
      'none',
    ),
    ['closure', formatClosure(closure)],
    ...several('needed by', dependents, 'no other path'),
    ...several(
      'roots',
      roots.map(
        ({ root, isCurrent }) =>
          `${root.name}, ${isCurrent ? '' : 'last '}published ${formatTime(ofSeconds(root.time))}`,
      ),
      'none',
    ),
    ...several(
      'pins',
      pins.map(({ name }) => name),
      'none',
    ),
    ['gc', formatReason(report, retain)],
  ];
  return `${narInfo.path}\n${formatFields(fields, width)}`;
}

const VERDICTS = {
  valid: '',
  invalid: ': THE SIGNATURE IS WRONG',
  'unknown-key': ', whose public key no publisher named',
} as const;

/** The title beside the first of `values` only. */
function several(title: string, values: readonly string[], none = ''): [string, string][] {
  if (values.length === 0) return [[title, none]];
  const shown = values.length > MAX_SHOWN ? values.slice(0, MAX_SHOWN - 1) : values;
  const lines = shown.map((value, i): [string, string] => [i === 0 ? title : '', value]);
  return shown === values ? lines : [...lines, ['', `and ${values.length - shown.length} more; --json has them all`]];
}

function formatClosure({ paths, narBytes, fileBytes, missing, leftOut }: ClosureSizes): string {
  const onPurpose = leftOut === 0 ? '' : ` (${leftOut} left out on purpose)`;
  const lacking =
    missing.length === 0 ? '' : `; ${formatCount(missing.length, 'path')} of it not in this cache${onPurpose}`;
  return `${formatCount(paths, 'path')}, NARs ${formatBytes(narBytes)}, compressed ${formatBytes(fileBytes)}${lacking}`;
}

function formatReason({ gc, entry }: PathReport, retain: string): string {
  switch (gc.verdict) {
    case 'dropped':
      return `would drop it with --retain ${retain}: nothing that is kept needs it`;
    case 'unknown':
      return gc.why;
    case 'kept':
      return `keeps it, since ${gc.through === baseNameOf(entry.narInfo.path) ? 'it' : gc.through} ${REASONS[gc.reason.kind](gc.reason, retain)}`;
  }
}

type Reasons = { readonly [K in KeepReason['kind']]: (reason: KeepReason, retain: string) => string };

const named = (reason: KeepReason): string => ('name' in reason ? reason.name : '');
const dated = (reason: KeepReason): string => ('time' in reason ? formatTime(ofSeconds(reason.time)) : '');

const REASONS: Reasons = {
  pinned: (reason) => `is pinned as ${named(reason)}`,
  'newest-publish': (reason) => `is ${named(reason)} of the newest publish, ${dated(reason)}`,
  published: (reason, retain) => `was published as ${named(reason)} on ${dated(reason)}, within ${retain}`,
  'keep-last': (reason) => `is one of the last publishes of ${named(reason)}, ${dated(reason)}`,
  pushed: (_reason, retain) => `was pushed within ${retain}`,
};

export function pathJson(report: PathReport): unknown {
  const { entry, narInfoText, segment, asserted, signatures, closure, dependents, roots, pins, gc } = report;
  const { path, narHash, narSize, fileHash, fileSize, compression, references, deriver, ca } = entry.narInfo;
  const storeDir = storeDirOf(path);
  return {
    ...{ path, narHash, narSize, fileHash, fileSize, compression, ca, narInfo: narInfoText },
    references: pathsJson(references, storeDir),
    deriver: deriver && `${storeDir}/${deriver}`,
    realisations: entry.realisations ?? [],
    ...{ extents: entry.nar, listing: entry.listing, segment, asserted, signatures, closure: closureJson(closure) },
    dependents: pathsJson(dependents, storeDir),
    roots: roots.map(({ root, isCurrent }) => ({ ...rootJson(root, storeDir), isCurrent })),
    pins: pins.map(({ name, path: pinned }) => ({ name, path: toStorePath(pinned, storeDir) })),
    gc: gc.verdict === 'kept' ? { ...gc, reason: reasonJson(gc.reason), through: `${storeDir}/${gc.through}` } : gc,
  };
}

const KEPT_AS: Readonly<Record<KeepReason['kind'], string>> = {
  pinned: 'pinned',
  'newest-publish': 'newest publish',
  published: 'within the retention',
  'keep-last': 'one of the last',
  pushed: 'pushed',
};

export function formatNameReport(report: NameReport, { width }: InfoTextOptions): string {
  const { name, roots, pins, closures } = report;
  const closed = [...closures].map(([path, sizes]): [string, string] => [path, formatClosure(sizes)]);
  const parts = [[name, ...closed.flatMap(([path, sizes]) => [`  ${path}`, `    ${sizes}`])].join('\n')];
  if (pins.length > 0) parts.push(formatPinHistory(report, width));
  if (roots.length > 0) {
    const rows = roots.map(({ root, inCache, keptAs }) => [
      formatTime(ofSeconds(root.time)),
      root.system ?? '',
      root.revision?.slice(0, 10) ?? '',
      keptAs === undefined ? (inCache ? 'by the next gc dropped' : 'dropped') : KEPT_AS[keptAs],
      root.path,
    ]);
    parts.push(formatTable(['PUBLISHED', 'SYSTEM', 'REVISION', 'GC KEEPS IT AS', 'STORE PATH'], rows, { width }));
  }
  return parts.join('\n\n');
}

export const formatPinHistory = ({ pins }: Pick<NameReport, 'pins'>, width: number | undefined): string =>
  formatTable(
    ['PINNED', 'STORE PATH'],
    pins.map(({ time, path }) => [formatTime(ofSeconds(time)), path ?? 'removed']),
    { width },
  );

export function nameJson({ name, roots, pinned, pins, closures }: NameReport, { reader }: Catalog): unknown {
  const full = (path: BaseName | undefined): string | undefined => path && toStorePath(path, reader.storeDir);
  return {
    ...{ name, pinned: full(pinned) },
    closures: Object.fromEntries([...closures].map(([path, sizes]) => [full(path), closureJson(sizes)])),
    roots: roots.map(({ root, ...rest }) => ({ ...rootJson(root, reader.storeDir), ...rest })),
    pins: pinHistoryJson(pins, reader.storeDir),
  };
}

export const pinHistoryJson = (pins: NameReport['pins'], storeDir: string): unknown =>
  pins.map((pin) => pinJson(pin, storeDir));

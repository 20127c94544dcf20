/** How far work has come, as one line of text that fits: pure, so that every width can be tested. */
import { formatBytes, formatCount } from '../../quantity.ts';
import { formatDuration } from './format.ts';
import { displayWidth, truncate } from './width.ts';

export interface ProgressCounts {
  readonly items: number;
  /** Undefined while it is not known yet. */
  readonly totalItems: number | undefined;
  readonly bytes: number;
  readonly totalBytes: number | undefined;
}

export interface ProgressSnapshot extends ProgressCounts {
  readonly title: string;
  /** What is counted, in singular: `path`. */
  readonly noun: string;
  readonly elapsedMs: number;
  /** Undefined where nobody can tell. */
  readonly remainingMs?: number | undefined;
  /** What is being worked on. */
  readonly note?: string;
}

const MIN_BAR = 8;
const MAX_BAR = 30;
const MIN_TITLE = 6;

/** What gives way first on a narrow terminal. */
const LEAST_IMPORTANT = ['rate', 'bytes', 'items', 'eta', 'percent'] as const;

/** A line of at most `width` characters for a terminal. */
export function formatProgressLine(snapshot: ProgressSnapshot, width: number): string {
  const share = progressShare(snapshot);
  const parts = new Map<string, string>();
  if (share !== undefined) parts.set('percent', `${Math.floor(share * 100)}%`);
  if (snapshot.totalItems !== undefined || snapshot.items > 0) parts.set('items', formatItems(snapshot));
  if (snapshot.bytes > 0 || snapshot.totalBytes !== undefined) parts.set('bytes', formatBytesDone(snapshot));
  if (snapshot.bytes > 0) parts.set('rate', `${formatBytes(bytesPerSecond(snapshot))}/s`);
  const { remainingMs } = snapshot;
  if (remainingMs !== undefined) parts.set('eta', `ETA ${formatDuration(remainingMs)}`);
  for (const name of LEAST_IMPORTANT) {
    if (lengthOf(snapshot.title, parts) <= width) break;
    if (lengthOf(truncate(snapshot.title, MIN_TITLE), parts) <= width && name === 'percent') break;
    parts.delete(name);
  }
  const tail = [...parts.values()].join('  ');
  const title = truncate(snapshot.title, Math.max(width - (tail === '' ? 0 : tail.length + 2), 0));
  const line = tail === '' ? title : `${title}  ${tail}`;
  const room = Math.min(width - displayWidth(line) - 2, MAX_BAR);
  if (share === undefined || room < MIN_BAR) return line;
  const { note = '' } = snapshot;
  // What is being worked on says more than a longer bar does.
  const drawn = `${title}  ${formatBar(share, note === '' ? room : MIN_BAR)}  ${tail}`;
  const left = width - displayWidth(drawn) - 2;
  return note === '' || left < MIN_TITLE ? drawn : `${drawn}  ${truncate(note, left)}`;
}

const lengthOf = (title: string, parts: ReadonlyMap<string, string>): number =>
  [title, ...parts.values()].reduce((sum, part) => sum + displayWidth(part) + 2, -2);

/** A line for a log: `push: 45%, 120 of 300 paths, 1.2 of 3.4 GiB, 80 MiB/s, 30 s left`. */
export function formatHeartbeat(snapshot: ProgressSnapshot): string {
  const share = progressShare(snapshot);
  const { remainingMs: left } = snapshot;
  const parts = [
    share === undefined ? undefined : `${Math.floor(share * 100)}%`,
    formatItems(snapshot),
    snapshot.bytes > 0 || snapshot.totalBytes !== undefined ? formatBytesDone(snapshot) : undefined,
    snapshot.bytes > 0 ? `${formatBytes(bytesPerSecond(snapshot))}/s` : undefined,
    left === undefined ? `${formatDuration(snapshot.elapsedMs)} so far` : `${formatDuration(left)} left`,
    snapshot.note ? `now ${snapshot.note}` : undefined,
  ];
  return `${snapshot.title}: ${parts.filter((part) => part !== undefined).join(', ')}`;
}

/** `push: 300 paths, 3.4 GiB in 42 s (80 MiB/s)` */
export function formatDone(snapshot: ProgressSnapshot): string {
  const { title, items, noun, bytes, elapsedMs } = snapshot;
  const amount = `${formatCount(items, noun)}${bytes > 0 ? `, ${formatBytes(bytes)}` : ''}`;
  const rate = bytes > 0 ? ` (${formatBytes(bytesPerSecond(snapshot))}/s)` : '';
  return `${title}: ${amount} in ${formatDuration(elapsedMs)}${rate}`;
}

/** From 0 to 1; by bytes where they are known, since paths differ in size a millionfold. */
export function progressShare({ items, totalItems, bytes, totalBytes }: ProgressCounts): number | undefined {
  if (totalBytes !== undefined && totalBytes > 0) return Math.min(bytes / totalBytes, 1);
  if (totalItems !== undefined && totalItems > 0) return Math.min(items / totalItems, 1);
  return undefined;
}

const bytesPerSecond = ({ bytes, elapsedMs }: ProgressSnapshot): number => bytes / Math.max(elapsedMs / 1000, 0.001);

const formatItems = ({ items, totalItems, noun }: ProgressSnapshot): string =>
  totalItems === undefined ? formatCount(items, noun) : `${items}/${formatCount(totalItems, noun)}`;

const formatBytesDone = ({ bytes, totalBytes }: ProgressSnapshot): string =>
  totalBytes === undefined ? formatBytes(bytes) : `${formatBytes(bytes)}/${formatBytes(totalBytes)}`;

function formatBar(share: number, width: number): string {
  const inner = width - 2;
  const filled = Math.round(share * inner);
  return `[${'='.repeat(filled)}${' '.repeat(inner - filled)}]`;
}

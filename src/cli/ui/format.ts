/** Quantities and times as people read them. */

/** `0.4 s`, `12 s`, `2 min 05 s`, `1 h 02 min`, `3 d 4 h`. */
export function formatDuration(ms: number): string {
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const pad = (value: number): string => String(value).padStart(2, '0');

/** `2026-11-20 13:37 UTC`. */
export const formatTime = (time: Date): string => `${formatCellTime(time)} UTC`;

/** `2026-11-20 13:37`, for a column whose title says that it is in UTC. */
export const formatCellTime = (time: Date): string => time.toISOString().slice(0, 16).replace('T', ' ');

/** The time that is `seconds` after the epoch. */
export const ofSeconds = (seconds: number): Date => new Date(seconds * 1000);

/** What a request is called in the log and in its answer, so that the two can be brought together. */
import { randomBytes } from 'node:crypto';

export const REQUEST_ID = 'X-Request-Id';
const KEY = REQUEST_ID.toLowerCase();

/** UUIDs, ULIDs, what proxies make: nothing that a log or a header would take for something else. */
const SAFE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Another for each process, so that ids do not come again after a restart. */
const prefix = randomBytes(5).toString('hex');
let count = 0;

/** The one that the client sent, if it may be passed on, else a new one. */
export function requestIdOf(rawHeaders: readonly string[]): string {
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    if (name.length !== KEY.length || name.toLowerCase() !== KEY) continue;
    const sent = rawHeaders[i + 1] ?? '';
    if (SAFE.test(sent)) return sent;
    break;
  }
  count += 1;
  return `${prefix}-${count.toString(36)}`;
}

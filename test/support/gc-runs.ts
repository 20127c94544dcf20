/** gc over a test's store, with the clock of the test. */

import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { GcEvent } from '../../src/gc/events.ts';
import { type GcOptions, runGc } from '../../src/gc/gc.ts';
import type { GcReport } from '../../src/gc/report.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';

export const DAY_SECONDS = 24 * 60 * 60;
/** Midnight, so many days after an arbitrary one. */
export const day = (days: number): Date => new Date(Date.UTC(2026, 0, 1) + days * DAY_SECONDS * 1000);

export interface GcRun {
  readonly report: GcReport;
  readonly events: readonly GcEvent[];
}

/** Runs gc at `at`: retention 30 days and grace a day, unless told otherwise. */
export async function gcAt(store: ContentStore, at: Date, options: Partial<GcOptions> = {}): Promise<GcRun> {
  const events: GcEvent[] = [];
  const report = await runGc({
    store,
    reader: options.reader ?? (await IndexReader.open({ store, strict: true })),
    retainSeconds: 30 * DAY_SECONDS,
    graceSeconds: DAY_SECONDS,
    dryRun: false,
    creator: 'test',
    now: () => at,
    ...options,
    onEvent: (event) => {
      events.push(event);
      options.onEvent?.(event);
    },
  });
  return { report, events };
}

/** Copies between tests' stores, and what must hold of a destination. */
import { expect } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import type { CopyEvent, CopyReport } from '../../src/copy/copy-options.ts';
import { type CopyReferenceOptions, copyReference } from '../../src/copy/copy-reference.ts';
import { type HashPart, hashPartOf } from '../../src/nix/store-path.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import { openReader } from './cache-builder.ts';

export interface CopyRun {
  readonly report: CopyReport;
  readonly events: readonly CopyEvent[];
}

/** Copies everything, unless told otherwise. */
export async function copyBetween(
  source: ContentStore,
  destination: ContentStore,
  options: Partial<CopyReferenceOptions> = {},
): Promise<CopyRun> {
  const events: CopyEvent[] = [];
  const report = await copyReference({
    ...{ source, destination, selection: { kind: 'everything' }, keys: [], trustedKeys: [] },
    sourceReader: await IndexReader.open({ store: source, strict: true, legacy: 'read' }),
    reader: await IndexReader.open({ store: destination, strict: true }),
    ...{ jobs: 4, dryRun: false, creator: 'test', run: 'run-1', now: () => new Date() },
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { report, events };
}

/** Fails unless every entry of `store` has all references there that `source` could give it. */
export async function assertClosed(store: ContentStore, source: ContentStore): Promise<void> {
  const reader = await openReader(store);
  const given = await IndexReader.open({ store: source, strict: true, legacy: 'read' });
  await given.refresh();
  const lacking: HashPart[] = [];
  for (const { entry } of reader.entries()) {
    for (const reference of entry.narInfo.references.map(hashPartOf)) {
      if (!reader.has(reference) && given.has(reference)) lacking.push(reference);
    }
  }
  expect(lacking).toEqual([]);
}

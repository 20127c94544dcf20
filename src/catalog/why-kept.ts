/** Why gc keeps a path, by gc's own rules over gc's own view of the cache. */

import { type Marks, mark, type WhyKept } from '../census/marks.ts';
import { applyRetention, type Retention, type RetentionPolicy, retainedSince } from '../census/retention.ts';
import { takeCensus } from '../census/take-census.ts';
import { NixcacheError } from '../errors.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Catalog } from './catalog.ts';

/** What gc would decide now; a value, so that several paths can be asked about. */
export interface GcVerdict {
  readonly retention: Retention;
  /** Undefined for what gc would drop. */
  why(hashPart: HashPart): WhyKept | undefined;
}

/** @throws {NixcacheError} ERR_INDEX when gc would stop, since it cannot read all of the cache */
export function judge(catalog: Catalog, policy: RetentionPolicy): GcVerdict {
  const [unreadable] = catalog.unreadable;
  if (unreadable !== undefined) throw wouldStop(unreadable);
  const retention = applyRetention(catalog.roots, catalog.pins, policy);
  const held = new Map(catalog.reader.segments().map((segment) => [segment.tag, segment]));
  const census = takeCensus(catalog.segments, held, (tag, why) => wouldStop(`segment ${tag}: ${why}`));
  const marks: Marks = mark(census, retention.kept, retainedSince(policy));
  return { retention, why: (hashPart) => marks.why(hashPart) };
}

const wouldStop = (reason: string): NixcacheError =>
  new NixcacheError('ERR_INDEX', `gc would stop and drop nothing: ${reason}; run nixcache verify`);

/** `/<32 characters>.ls`: the listing of a NAR, where it was published. */
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import { messageOf } from '../../errors.ts';
import { HASH_PART_LENGTH, type HashPart, isHashPart } from '../../nix/store-path.ts';
import { type Answer, NOT_FOUND, SHORT_LIVED, textAnswer } from '../answer.ts';
import { READ, type Route } from '../route.ts';
import type { ServeEvent } from '../serve-options.ts';
import type { Trust } from '../trust.ts';

export interface ListingRouteOptions {
  readonly reader: CacheReader;
  readonly trust: Trust;
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

const SUFFIX = '.ls';

export function listingRoute(options: ListingRouteOptions): Route {
  return {
    methods: READ,
    match: (path) => {
      const hashPart = path.slice(1, 1 + HASH_PART_LENGTH);
      return path === `/${hashPart}${SUFFIX}` && isHashPart(hashPart)
        ? () => fetchListing(options, path, hashPart)
        : undefined;
    },
  };
}

async function fetchListing(options: ListingRouteOptions, path: string, hashPart: HashPart): Promise<Answer> {
  const { reader, trust, timeoutMs, onEvent } = options;
  try {
    const entry = await reader.findEntry(hashPart);
    if (entry === undefined || !trust.allows(entry.narInfo)) return NOT_FOUND;
    const listing = await reader.fetchListing(entry, { signal: AbortSignal.timeout(timeoutMs) });
    if (listing === undefined) return NOT_FOUND;
    return textAnswer(listing.toString('utf8'), 'application/json', SHORT_LIVED);
  } catch (error) {
    onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    return NOT_FOUND;
  }
}

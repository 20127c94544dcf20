/** How often what was asked for was there; plain numbers, because narinfos are counted on the hot path. */
export interface Counters {
  narInfoHits: number;
  narInfoUpstreamHits: number;
  narInfoMisses: number;
  narHits: number;
  narUpstreamHits: number;
  narMisses: number;
  /** Answers that were cut off, or could not be begun, because the far side failed. */
  failures: number;
}

export const newCounters = (): Counters => ({
  narInfoHits: 0,
  narInfoUpstreamHits: 0,
  narInfoMisses: 0,
  narHits: 0,
  narUpstreamHits: 0,
  narMisses: 0,
  failures: 0,
});

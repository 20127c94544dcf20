/** What everyone has to agree upon about `.ls` listings; nar/nar-listing.ts makes and parses them. */

/** 64 MiB of JSON, some 500 000 files: what a server is willing to hold for one answer. */
export const MAX_LISTING_BYTES = 64 * 1024 * 1024;

/** How much is written at a time; what readers must bear is in docs/cache-format.md section 9. */

/** Entries of one segment. */
export const MAX_SEGMENT_ENTRIES = 1000;
/** After so many references of its entries a segment is full: they are some 60 bytes each, and readers unpack 128 MiB. */
export const MAX_SEGMENT_REFERENCES = 500_000;
/** 3 minutes: what a killed run loses at most, and far below the hour after which zot reaps unreferenced blobs. */
export const MAX_COMMIT_INTERVAL_MS = 3 * 60 * 1000;
/** 256 MiB: a retry costs one part, and at 10 Mbit/s it is through in 4 of GHCR's 10 minutes. */
export const PART_BYTES = 256 * 1024 * 1024;
/** Below the layers of a manifest on every registry; larger NARs get larger parts. */
const MAX_PARTS = 300;
/** Uploads at once: a registry's patience, and enough to hide 50 ms of latency. */
export const CONCURRENT_UPLOADS = 8;
/** Small questions at once: whether a blob is there, where a tag points. */
export const CONCURRENT_REQUESTS = 16;

/** Bytes of a part of a NAR that is `size` bytes long. */
export const partBytesFor = (size: number): number => Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS));

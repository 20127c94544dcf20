/** Names of everything nixcache puts into a registry, version 1. docs/cache-format.md lists them with their shapes. */

export const FORMAT_VERSION = 1;

export const SEGMENT = 'application/vnd.nixcache.segment.v1';
export const SEGMENT_CONFIG = 'application/vnd.nixcache.segment.config.v1+json';
export const ENTRIES = 'application/vnd.nixcache.entries.v1+zstd';
/** One compressed NAR; the compression is the entry's matter. */
export const NAR = 'application/vnd.nixcache.nar.v1';
/** Small compressed NARs and listings, end to end. */
export const PACK = 'application/vnd.nixcache.pack.v1';
/** A piece of a compressed NAR too large for one blob. */
export const PART = 'application/vnd.nixcache.part.v1';
/** A zstd-compressed `.ls` listing too large for a pack. */
export const LISTING = 'application/vnd.nixcache.listing.v1+zstd';
export const CHECKPOINT = 'application/vnd.nixcache.checkpoint.v1';
export const CHECKPOINT_RECORD = 'application/vnd.nixcache.checkpoint.record.v1';
export const CHECKPOINT_CONFIG = 'application/vnd.nixcache.checkpoint.config.v1+json';
/** Which of a checkpoint's segments holds which store path. */
export const LOOKUP = 'application/vnd.nixcache.lookup.v1';
export const CACHE_INDEX = 'application/vnd.nixcache.cache-index.v1';

/** The tag of the manifest that carries the annotation: makes every manifest's digest its own. */
export const TAG_ANNOTATION = 'io.nixcache.tag';
/** Size in bytes of a segment's entries blob, whose digest is in its tag. */
export const ENTRIES_SIZE_ANNOTATION = 'io.nixcache.entries.size';
/** Decimal format version, on cache-index and checkpoints. */
export const VERSION_ANNOTATION = 'io.nixcache.format-version';
/** Public signing keys of the publishers, space separated, on cache-index: a reader needs no segment manifest for them. */
export const PUBLIC_KEYS_ANNOTATION = 'io.nixcache.public-keys';
/** When the manifest was written: RFC 3339. opencontainers/image-spec v1.1.1 annotations.md */
export const CREATED_ANNOTATION = 'org.opencontainers.image.created';
/** Links a package to its repository on GHCR. */
export const SOURCE_ANNOTATION = 'org.opencontainers.image.source';

/** How NARs are compressed, as `--compression` says it. */
import { NixcacheError } from '../errors.ts';

export interface CompressionSetting {
  readonly method: 'zstd' | 'xz' | 'none';
  /** zstd only; undefined leaves it to the publisher. */
  readonly level: number | undefined;
}

/** zstd's own limits (ZSTD_maxCLevel); negative levels are not offered. */
const MIN_LEVEL = 1;
const MAX_LEVEL = 22;

/** @throws {NixcacheError} ERR_USAGE */
export function parseCompression(text: string): CompressionSetting {
  if (text === 'xz' || text === 'none') return { method: text, level: undefined };
  const match = /^zstd(?::(\d{1,3}))?$/.exec(text);
  const level = match?.[1] === undefined ? undefined : Number(match[1]);
  if (match === null || (level !== undefined && (level < MIN_LEVEL || level > MAX_LEVEL))) {
    throw new NixcacheError(
      'ERR_USAGE',
      `'${text}' is not a compression: write zstd, zstd:LEVEL with a level from ${MIN_LEVEL} to ${MAX_LEVEL}, xz or none`,
    );
  }
  return { method: 'zstd', level };
}

/**
 * `/debuginfo/<build id>.debug` of a binary cache: in which NAR the debug symbols with this build id are, and where in it.
 * Source: NixOS/nix src/libstore/binary-cache-store.cc (`index-debug-info`).
 */
import * as z from 'zod/mini';
import { parseBoundedJson } from '../bounded-json.ts';
import { NixcacheError } from '../errors.ts';

export interface DebugInfo {
  /** URL of the NAR, relative to the cache. */
  readonly archive: string;
  /** The file in it. */
  readonly member: string;
}

/** A build id in hex, mostly 20 bytes; Nix writes the suffix, and its comments do not. */
const NAME = /^[0-9a-f]{4,128}(?:\.debug)?$/;

export const isDebugInfoName = (text: string): boolean => NAME.test(text);

const schema = z.object({ archive: z.string(), member: z.string() });
const PREFIX = '../';

/** @throws {NixcacheError} ERR_FORMAT */
export function parseDebugInfo(json: string): DebugInfo {
  try {
    const { archive, member } = z.parse(schema, parseBoundedJson(json, { maxValues: 100, maxDepth: 3 }));
    if (!archive.startsWith(PREFIX)) throw new Error('its archive is not beside it');
    return { archive: archive.slice(PREFIX.length), member };
  } catch (cause) {
    throw new NixcacheError('ERR_FORMAT', 'it does not say where debug symbols are', { cause });
  }
}

export const formatDebugInfo = ({ archive, member }: DebugInfo): string =>
  JSON.stringify({ archive: PREFIX + archive, member });

/** What the roots and pins of a cache stand for now, picked by their names. */
import { currentPins, currentRoots, type Pin, type Root, type SegmentRecords } from '../cache-index/records.ts';
import { NixcacheError } from '../errors.ts';
import { rootMatcher } from '../nix/attr-path.ts';

/**
 * The newest root of each name, source and system, and the pins in force, as far as one of `globs` is their name or
 * matches it.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, with every glob that matches nothing
 */
export function recordsNamed(
  globs: readonly string[],
  records: SegmentRecords,
  cache: { readonly name: string },
): SegmentRecords {
  const [roots, pins] = [currentRoots(records.roots), currentPins(records.pins)];
  const isOutput = (record: Root | Pin): boolean => 'system' in record && record.system !== undefined;
  const tests = globs.map((glob) => ({ glob, matches: rootMatcher(glob) }));
  const all: readonly (Root | Pin)[] = [...roots, ...pins];
  const idle = tests
    .filter(({ matches }) => !all.some((record) => matches(record.name, isOutput(record))))
    .map(({ glob }) => `'${glob}'`);
  if (idle.length > 0) {
    throw new NixcacheError(
      'ERR_NOT_FOUND',
      `${cache.name} has no root or pin called ${idle.join(' or ')}: nixcache list --from ${cache.name} shows what there is`,
    );
  }
  const isNamed = (record: Root | Pin): boolean => tests.some(({ matches }) => matches(record.name, isOutput(record)));
  return { roots: roots.filter(isNamed), pins: pins.filter(isNamed) };
}

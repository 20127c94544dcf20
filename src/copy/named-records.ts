/** What the roots and pins of a cache stand for now, picked by their names. */
import { currentPins, currentRoots, type SegmentRecords } from '../cache-index/records.ts';
import { NixcacheError } from '../errors.ts';
import { nameMatcher } from '../name-glob.ts';

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
  const tests = globs.map((glob) => ({ glob, matches: nameMatcher(glob) }));
  const [roots, pins] = [currentRoots(records.roots), currentPins(records.pins)];
  const called = new Set([...roots, ...pins].map(({ name }) => name));
  const idle = tests.filter(({ matches }) => ![...called].some(matches)).map(({ glob }) => `'${glob}'`);
  if (idle.length > 0) {
    throw new NixcacheError(
      'ERR_NOT_FOUND',
      `${cache.name} has no root or pin called ${idle.join(' or ')}: nixcache list --from ${cache.name} shows what there is`,
    );
  }
  const isNamed = ({ name }: { readonly name: string }): boolean => tests.some(({ matches }) => matches(name));
  return { roots: roots.filter(isNamed), pins: pins.filter(isNamed) };
}

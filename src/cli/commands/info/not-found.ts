/** When what the user named is not in the cache, or is not one thing. */
import type { Catalog } from '../../../catalog/catalog.ts';
import { knownNames } from '../../../catalog/look-up.ts';
import { nearest } from '../../../config/suggestion.ts';
import { NixcacheError } from '../../../errors.ts';
import { type BaseName, baseNameOf, hashPartOf } from '../../../nix/store-path.ts';
import { formatCount } from '../../../quantity.ts';
import type { CommandContext } from '../../context.ts';
import { pathsJson } from '../../json.ts';
import { resolveStorePath } from '../../store-path-argument.ts';
import type { Output } from '../../ui/output.ts';

const MAX_SUGGESTIONS = 5;
const MAX_CANDIDATES = 20;

export function notFound(command: string, what: string, catalog: Catalog): NixcacheError {
  const near = what.startsWith('/') ? [] : similarNames(what, knownNames(catalog));
  const advice = near.length === 0 ? 'nixcache list --entries shows all there is' : `did you mean ${near.join(', ')}?`;
  return new NixcacheError(
    'ERR_NOT_FOUND',
    `${command} ${what}: ${catalog.reader.name} has no such path, root or pin; ${advice}`,
  );
}

/** A path that is not in the cache as it is written: a link like ./result that leads to one. @throws {NixcacheError} */
export async function followPath(
  command: string,
  text: string,
  catalog: Catalog,
  { cwd }: Pick<CommandContext, 'cwd'>,
): Promise<BaseName> {
  const { reader } = catalog;
  if (!text.includes('/')) throw notFound(command, text, catalog);
  const path = await resolveStorePath(text, { storeDir: reader.storeDir, cwd, what: command });
  if (reader.has(hashPartOf(path))) return baseNameOf(path);
  throw new NixcacheError(
    'ERR_NOT_FOUND',
    `${command} ${text}: ${path} is not in ${reader.name}; publish it first: nixcache push ${path}`,
  );
}

/** Names that hold `text`; else those that are nearly it, their version aside. */
function similarNames(text: string, names: readonly string[]): readonly string[] {
  const lower = text.toLowerCase();
  const holding = names.filter((name) => name.toLowerCase().includes(lower));
  if (holding.length > 0) return holding.slice(0, MAX_SUGGESTIONS);
  const byStem = new Map(names.toReversed().map((name) => [stemOf(name), name]));
  const near = nearest(text, [...names, ...byStem.keys()], MAX_SUGGESTIONS);
  return [...new Set(near.map((name) => byStem.get(name) ?? name))];
}

/** `hello` of `hello-2.12.1`, as Nix divides names (nix/src/libstore/names.cc: a dash before a digit). */
const stemOf = (name: string): string => name.replace(/-[0-9].*$/, '');

/** Lists what the user may have meant, on stderr, or on stdout as `{"ambiguous": […]}`. */
export function tellAmbiguous(
  what: string,
  candidates: readonly BaseName[],
  { output, storeDir }: { readonly output: Output; readonly storeDir: string },
): void {
  const more = candidates.length - MAX_CANDIDATES;
  output.error(`${what} may be ${formatCount(candidates.length, 'path')}; give one of them, or more of it:`, [
    ...candidates.slice(0, MAX_CANDIDATES),
    ...(more > 0 ? [`and ${more} more`] : []),
  ]);
  if (output.json) output.result({ ambiguous: pathsJson(candidates, storeDir) }, () => '');
}

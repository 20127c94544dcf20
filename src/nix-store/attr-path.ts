/**
 * Attribute paths as text, `packages.x86_64-linux.hello`, and globs over them.
 *
 * A component that is no plain word is quoted as Nix does: `packages.x86_64-linux."my.tool"`. In a glob `*` and `?`
 * stay within one component, `**` spans any number, `{a,b}` and `[ab]` work as in a shell. A glob also selects
 * everything below what it matches, so `packages.x86_64-linux` and `nixosConfigurations` are globs too.
 */
import picomatch from 'picomatch';
import { NixcacheError } from '../errors.ts';

/** Also plain in `nix build FLAKE#attr.path`; Nix's own identifiers are narrower, but its CLI splits by dots only. */
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_'+-]*$/;

export const formatAttrPath = (components: readonly string[]): string =>
  components.map((part) => (PLAIN.test(part) ? part : `"${part.replaceAll(/["\\]/g, '\\$&')}"`)).join('.');

export interface AttrPathFilter {
  /** Globs; empty means everything. */
  readonly only?: readonly string[];
  readonly exclude?: readonly string[];
}

/** Whether a path is wanted: matched by one of `only` and by none of `exclude`. @throws {NixcacheError} ERR_USAGE */
export function attrPathMatcher(filter: AttrPathFilter): (components: readonly string[]) => boolean {
  const only = matchAny(filter.only ?? []);
  const exclude = matchAny(filter.exclude ?? []);
  return (components) => {
    const path = toSlashes(components);
    return (only === undefined || only(path)) && exclude?.(path) !== true;
  };
}

function matchAny(globs: readonly string[]): ((path: string) => boolean) | undefined {
  if (globs.length === 0) return undefined;
  const patterns = globs.flatMap((glob) => {
    const slashed = toSlashes(parseGlob(glob));
    return [slashed, `${slashed}/**`];
  });
  return picomatch(patterns, { dot: true, nonegate: true, noextglob: true });
}

/** Splits at dots outside quotes and braces; what was quoted is taken literally. */
function parseGlob(glob: string): readonly string[] {
  const components = [''];
  let isQuoted = false;
  let depth = 0;
  for (const character of glob) {
    if (character === '"') isQuoted = !isQuoted;
    else if (character === '.' && !isQuoted && depth === 0) components.push('');
    else {
      if (!isQuoted) depth += character === '{' ? 1 : character === '}' ? -1 : 0;
      const text = isQuoted && /[!-,./:-@[-^`{-~]/.test(character) ? `\\${character}` : character;
      components.push((components.pop() ?? '') + text);
    }
  }
  if (isQuoted || components.some((part) => part === '')) throw malformed(glob);
  return components;
}

/** picomatch knows one separator; a slash inside a component becomes a character no attribute has. */
const toSlashes = (components: readonly string[]): string =>
  components.map((part) => part.replaceAll('/', '\u2215')).join('/');

const malformed = (text: string): NixcacheError =>
  new NixcacheError(
    'ERR_USAGE',
    `'${text}' is not an attribute path: write components with dots between, as in packages.x86_64-linux.hello or packages.*.hello`,
  );

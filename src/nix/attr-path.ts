/**
 * Attribute paths as text, `packages.x86_64-linux.hello`, and globs over them and over names: the only ones there are.
 *
 * A component that is no plain word is quoted as Nix does: `packages.x86_64-linux."my.tool"`. In a glob `*` and `?`
 * stay within one component, `**` spans any number, `{a,b}` and `[ab]` work as in a shell. A glob also selects
 * everything below what it matches, so `packages.x86_64-linux` and `nixosConfigurations` are globs too.
 */
import picomatch from 'picomatch';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import { nameMatcher } from '../name-glob.ts';

/** Also plain in `nix build FLAKE#attr.path`; Nix's own identifiers are narrower, but its CLI splits by dots only. */
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_'+-]*$/;

export const formatAttrPath = (components: readonly string[]): string =>
  components.map((part) => (PLAIN.test(part) ? part : `"${part.replaceAll(/["\\]/g, '\\$&')}"`)).join('.');

export interface AttrPathFilter {
  /** Globs; empty means everything. */
  readonly only?: readonly string[];
  readonly exclude?: readonly string[];
}

/** A glob that selected nothing of what was looked at. */
export interface UnmatchedGlob {
  readonly list: keyof AttrPathFilter;
  readonly glob: string;
  /** One that would have, and may have been meant: `**.hello` for `*.hello`. */
  readonly meant: string | undefined;
}

/** What a filter wants, and which of its globs have selected something since it was made. */
export class AttrPathMatcher {
  readonly #only: readonly Glob[];
  readonly #exclude: readonly Glob[];

  /** @throws {NixcacheError} ERR_USAGE */
  constructor({ only = [], exclude = [] }: AttrPathFilter) {
    this.#only = only.map(toGlob);
    this.#exclude = exclude.map(toGlob);
  }

  /** Whether a path is matched by one of `only` and by none of `exclude`. */
  isWanted(components: readonly string[]): boolean {
    const path = toSlashes(components);
    // Each is asked, so that `unmatched` knows of each.
    const matching = (globs: readonly Glob[]): number => globs.filter((glob) => glob.matches(path)).length;
    const [only, exclude] = [matching(this.#only), matching(this.#exclude)];
    return (this.#only.length === 0 || only > 0) && exclude === 0;
  }

  /** Those that selected none of the paths that `isWanted` was asked about. */
  get unmatched(): readonly UnmatchedGlob[] {
    const lists = { only: this.#only, exclude: this.#exclude };
    return (['only', 'exclude'] as const).flatMap((list) =>
      lists[list].flatMap(({ isUsed, text, meant }) => (isUsed ? [] : { list, glob: text, meant })),
    );
  }
}

/** A matcher for one glob over attribute paths as text. @throws {NixcacheError} ERR_USAGE */
export function attrPathGlob(glob: string): (attrPath: string) => boolean {
  const matches = matcherOf(glob);
  return (attrPath) => matches(toSlashes(splitAttrPath(attrPath)));
}

/** Whether `glob` can be one over attribute paths; `/nix/store/*` cannot. */
function isAttrPathGlob(glob: string): boolean {
  try {
    parseGlob(glob);
    return true;
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_USAGE')) throw error;
    return false;
  }
}

/** The components of what `formatAttrPath` wrote; of any other text what lies between its dots. */
export function splitAttrPath(text: string): readonly string[] {
  const parts = text.match(/"(?:[^"\\]|\\.)*"|[^".]+/g) ?? [];
  return parts.map((part) => (part.startsWith('"') ? part.slice(1, -1).replaceAll(/\\(.)/g, '$1') : part));
}

interface Glob {
  readonly text: string;
  isUsed: boolean;
  meant: string | undefined;
  matches(path: string): boolean;
}

function toGlob(text: string): Glob {
  const matches = matcherOf(text);
  // `*` stays within one component: who begins with it may have meant any number of them.
  const wider = text.startsWith('*.') ? `*${text}` : `**.${text}`;
  const matchesWider = text.startsWith('**') ? () => false : matcherOf(wider);
  const glob: Glob = {
    ...{ text, isUsed: false, meant: undefined },
    matches(path) {
      const isMatch = matches(path);
      glob.isUsed ||= isMatch;
      if (!glob.isUsed && matchesWider(path)) glob.meant = wider;
      return isMatch;
    },
  };
  return glob;
}

function matcherOf(glob: string): (path: string) => boolean {
  const slashed = toSlashes(parseGlob(glob));
  return picomatch([slashed, `${slashed}/**`], { dot: true, nonegate: true, noextglob: true });
}

/**
 * A matcher for a glob over names of roots. That of a flake's output, `isOutput`, is an attribute path, perhaps with
 * `^dev` behind it; any other is text.
 */
export function rootMatcher(glob: string): (name: string, isOutput: boolean) => boolean {
  const matches = nameMatcher(glob);
  const isOutputOf = isAttrPathGlob(glob) ? attrPathGlob(glob) : () => false;
  return (name, isOutput) => name === glob || (isOutput ? isOutputOf(name.replace(/\^[^^".]*$/, '')) : matches(name));
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

/** One of the outputs of a derivation, as Nix writes it: `hello`, or `hello^dev` for one that is not called out. */
export const withOutput = (attrPath: string, output: string): string =>
  output === 'out' ? attrPath : `${attrPath}^${output}`;

/** What `discover`, `publish` and `push` take as values: each is read, or refused with what it should be. */
import { NixcacheError } from '../errors.ts';
import { splitAttrPath } from '../nix/attr-path.ts';
import { KINDS, type OutputKind } from '../nix-store/flake-expression.ts';
import { suggest } from './suggestion.ts';
import { assertSystem } from './system.ts';

export function parseAttr(text: string): readonly string[] {
  const path = splitAttrPath(text);
  if (path.length > 0 && path.every((part) => part !== '')) return path;
  throw new NixcacheError(
    'ERR_USAGE',
    `'${text}' is no attribute path: write it like hello or python3Packages.requests`,
  );
}

export function parsePair(text: string, flag: string, words: string): readonly [string, string] {
  const [, name, value] = /^([^=\s]+)=(.*)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return [name, value];
  throw new NixcacheError('ERR_USAGE', `${flag} takes two words: write ${flag} ${words}`);
}

export function parseKinds(given: readonly string[]): readonly OutputKind[] {
  const names = given.flatMap((list) => list.split(/[\s,]+/)).filter((name) => name !== '');
  if (names.includes('all')) return KINDS;
  const kinds = names.map((name) => {
    const kind = KINDS.find((known) => known === name);
    if (kind !== undefined) return kind;
    const meant = suggest(name, KINDS);
    const help = meant === undefined ? `there are ${KINDS.join(', ')} and all` : `did you mean '${meant}'?`;
    throw new NixcacheError('ERR_USAGE', `'${name}' is not a kind of flake output; ${help}`);
  });
  if (kinds.length > 0) return [...new Set(kinds)];
  throw new NixcacheError('ERR_USAGE', `no kind of flake output is given; there are ${KINDS.join(', ')} and all`);
}

export function parseSystems(given: readonly string[]): readonly string[] | 'all' {
  const systems = given.flatMap((list) => list.split(/[\s,]+/)).filter((name) => name !== '');
  if (systems.includes('all')) return 'all';
  for (const system of systems) assertSystem(system);
  return [...new Set(systems)];
}

export function parseRunners(given: readonly string[]): ReadonlyMap<string, readonly string[]> {
  return new Map(
    given.map((text) => {
      const [, system = '', labels = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
      const named = labels.split(',').map((label) => label.trim());
      if (system === '' || named.includes('')) {
        throw new NixcacheError(
          'ERR_USAGE',
          `'${text}' names no runner: write it like riscv64-linux=self-hosted,riscv`,
        );
      }
      assertSystem(system);
      return [system, named];
    }),
  );
}

export function parseUpstreamFailure(text: string): 'push' | 'fail' {
  if (text === 'push' || text === 'fail') return text;
  throw new NixcacheError('ERR_USAGE', `'${text}' is neither push (what cannot be asked about) nor fail`);
}

export function parseRegExp(text: string): RegExp {
  try {
    return new RegExp(text, 'u');
  } catch (error) {
    throw new NixcacheError('ERR_USAGE', `'${text}' is not a regular expression`, { cause: error });
  }
}

export function parseRootName(text: string): string {
  if (/^[^\s\p{C}]{1,200}$/u.test(text)) return text;
  throw new NixcacheError('ERR_USAGE', `'${text}' cannot name a root: use up to 200 characters without spaces`);
}

/** A flake reference as users give it. */
import { NixcacheError } from '../errors.ts';

/** What can be told without asking Nix. @throws {NixcacheError} ERR_USAGE */
export function assertFlakeReference(flakeRef: string): void {
  const [flake = '', fragment = ''] = flakeRef.split('#', 2);
  if (flakeRef.trim() !== '' && !flakeRef.startsWith('-') && !flakeRef.includes('#')) return;
  const pick = fragment === '' ? '' : `, and pick outputs of ${flake || '.'} with --only '${globFor(fragment)}'`;
  throw new NixcacheError('ERR_USAGE', `'${flakeRef}' is not a flake: give a directory or a URL without '#'${pick}`);
}

/** `hello` is a package of some system; `nixosConfigurations.web` stands for itself. */
const globFor = (fragment: string): string =>
  fragment.includes('.') ? fragment : `packages.*.${/^[\w-]+$/.test(fragment) ? fragment : 'NAME'}`;

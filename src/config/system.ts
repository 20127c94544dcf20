/** Names of systems, as Nix has them: `x86_64-linux`. */
import { NixcacheError } from '../errors.ts';
import { suggest } from './suggestion.ts';

/** What other programs call what Nix calls otherwise. */
const ALIASES: Readonly<Record<string, string>> = {
  ...{ amd64: 'x86_64', x64: 'x86_64', 'x86-64': 'x86_64', arm64: 'aarch64', armv8: 'aarch64' },
  ...{ x86: 'i686', i386: 'i686', i486: 'i686', i586: 'i686', ia32: 'i686', armhf: 'armv7l', arm: 'armv7l' },
  ...{ macos: 'darwin', osx: 'darwin', mac: 'darwin', 'apple-darwin': 'darwin' },
};

/** Those that have users. Nix knows others, and anybody may invent one. */
const KNOWN = [
  ...['x86_64-linux', 'aarch64-linux', 'x86_64-darwin', 'aarch64-darwin', 'i686-linux', 'armv7l-linux'],
  ...['armv6l-linux', 'riscv64-linux', 'powerpc64le-linux', 'x86_64-freebsd'],
];

/** @throws {NixcacheError} ERR_USAGE for what cannot be one, and for what is another one mistyped */
export function assertSystem(system: string): void {
  if (KNOWN.includes(system)) return;
  const meant = meantBy(system);
  const isSystem = /^[a-z0-9_]+-[a-z0-9_]+$/.test(system);
  if (meant !== undefined) {
    throw new NixcacheError('ERR_USAGE', `'${system}' is not a system of Nix, did you mean '${meant}'?`);
  }
  if (isSystem) return;
  throw new NixcacheError('ERR_USAGE', `'${system}' is not a system: write it like x86_64-linux or aarch64-darwin`);
}

function meantBy(system: string): string | undefined {
  const [, machine = '', os = ''] = /^(.+?)[-/](linux|darwin|freebsd|macos|osx|mac|apple-darwin)$/i.exec(system) ?? [];
  const renamed = [machine, os].map((part) => ALIASES[part.toLowerCase()] ?? part.toLowerCase()).join('-');
  if (KNOWN.includes(renamed)) return renamed;
  const swapped = system
    .toLowerCase()
    .split(/[-/]/)
    .toReversed()
    .map((part) => ALIASES[part] ?? part)
    .join('-'); // linux/amd64
  if (KNOWN.includes(swapped)) return swapped;
  // One letter off is a slip; two apart is another machine, as armv6l is not armv7l.
  const near = suggest(system, KNOWN);
  return near !== undefined && Math.abs(near.length - system.length) <= 1 && !ANOTHER.has(system) ? near : undefined;
}

/** Systems of their own that look like others. */
const ANOTHER = new Set([
  'armv5tel-linux',
  'riscv32-linux',
  'powerpc64-linux',
  'x86_64-netbsd',
  'x86_64-openbsd',
  'i686-freebsd',
  'aarch64-freebsd',
  'i686-cygwin',
  'x86_64-cygwin',
]);

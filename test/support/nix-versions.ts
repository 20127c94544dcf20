/** The Nixes that the tests run against: the machine's own, and the newer ones that .ci/nix-chroot unpacks. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface NixUnderTest {
  readonly name: string;
  /** Directory to put first on PATH; undefined for the machine's own. */
  readonly bin: string | undefined;
}

const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'nixcache-test');

/** Debian suites whose nix-bin the tests use: 2.26 in trixie, the newest packaged in sid. */
const SUITES = ['trixie', 'sid'] as const;

/** Every Nix to test with. */
export const NIX_VERSIONS: readonly NixUnderTest[] = [
  { name: "the machine's Nix", bin: undefined },
  ...SUITES.map((suite) => ({ name: `Debian ${suite}'s Nix`, bin: join(CACHE, `${suite}.bin`) })),
];

/** @throws {Error} saying how to get it, when it is not there */
export function requireNix(nix: NixUnderTest): void {
  if (nix.bin === undefined || existsSync(join(nix.bin, 'nix'))) return;
  throw new Error(`${nix.name} is not unpacked: run '.ci/nix-chroot ${SUITES.join(' ')}' as root first`);
}

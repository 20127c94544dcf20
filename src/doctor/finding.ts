/** What one check found. */
import { isNixcacheError, messageOf } from '../errors.ts';

export type CheckName =
  | 'nix' //          Nix is there, and its store can be read
  | 'features' //     flakes are on
  | 'daemon' //       whether it heeds what this user says
  | 'builders' //     the accounts that it builds as
  | 'cache' //        which cache is meant, and whether it is there
  | 'registry' //     it answers
  | 'clock' //        ours against the registry's
  | 'credentials' //  where they come from
  | 'pull' //         reading
  | 'public' //       reading without credentials
  | 'push' //         writing
  | 'index' //        what the cache says it has
  | 'age' //          of the newest publish
  | 'key' //          the signing key of this machine
  | 'signatures' //   of entries
  | 'upstream' //     other caches
  | 'proxy' //        `nixcache serve` on this machine
  | 'trust' //        what Nix substitutes from, and believes
  | 'disk'; //        room for the index

export interface Finding {
  readonly check: CheckName;
  /** `skipped`: another finding stands in the way, or the check is about something that is not in use. */
  readonly verdict: 'ok' | 'warning' | 'problem' | 'skipped';
  readonly message: string;
  /** What to do. */
  readonly fix?: string | undefined;
}

export const ok = (check: CheckName, message: string): Finding => ({ check, verdict: 'ok', message });
export const skipped = (check: CheckName, message: string): Finding => ({ check, verdict: 'skipped', message });
export const warning = (check: CheckName, message: string, fix: string): Finding => ({
  ...{ check, verdict: 'warning', message, fix },
});
export const problem = (check: CheckName, message: string, fix?: string): Finding => ({
  ...{ check, verdict: 'problem', message },
  ...(fix === undefined ? {} : { fix }),
});

/** What `examine` finds, or that it failed; bugs of ours are thrown on. */
export async function attempt<T>(
  check: CheckName,
  fix: string | undefined,
  examine: () => Promise<T>,
): Promise<T | Finding> {
  try {
    return await examine();
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return problem(check, messageOf(error), fix);
  }
}

export const isFinding = (value: unknown): value is Finding =>
  typeof value === 'object' && value !== null && 'check' in value && 'verdict' in value;

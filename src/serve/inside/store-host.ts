/**
 * Hosts that show one store path each, `<hash part>.<host>`: each is an origin of its own, so that a site in a path finds what it
 * names by absolute paths, and two of them have nothing in common.
 */
import { HASH_PART_LENGTH, type HashPart, isHashPart } from '../../nix/store-path.ts';
import type { TargetUrls } from './inside.ts';

export interface OwnHost {
  readonly hashPart: HashPart;
  readonly urls: TargetUrls;
}

/** What `host`, as it stands in a Host header, shows where `storeHost` has such hosts; undefined where it is none of them. */
export function ownHostOf(host: string | null | undefined, storeHost: string | undefined): OwnHost | undefined {
  if (storeHost === undefined || !host) return undefined;
  const hashPart = host.slice(0, HASH_PART_LENGTH).toLowerCase();
  const [, name, port = ''] = /^\.([^:]+)(:[0-9]{1,5})?$/.exec(host.slice(HASH_PART_LENGTH)) ?? [];
  if (!isHashPart(hashPart) || name?.toLowerCase() !== storeHost) return undefined;
  const of = (baseName: string): string => `//${baseName.slice(0, HASH_PART_LENGTH)}.${storeHost}${port}`;
  return { hashPart, urls: { rootName: '', own: '', of } };
}

/** A repository of GHCR as GitHub's Packages API and its web pages name it. */
import { NixcacheError } from '../errors.ts';

export interface PackageName {
  /** The user or organisation, in lower case as in the reference; GitHub does not tell cases apart. */
  readonly owner: string;
  /** All below the owner: `repo/nix-cache`. */
  readonly name: string;
}

/** `owner/repo/nix-cache`. @throws {NixcacheError} ERR_USAGE when there is no package below an owner */
export function parsePackageName(repository: string): PackageName {
  const [, owner, name] = /^([^/]+)\/(.+)$/.exec(repository) ?? [];
  if (owner !== undefined && name !== undefined) return { owner, name };
  throw new NixcacheError(
    'ERR_USAGE',
    `'${repository}' names no package of an owner: on registries of kind ghcr, write the cache like ghcr.io/owner/name`,
  );
}

/**
 * Where a person changes who sees the package and who may write to it. Which of two pages depends on what the owner is,
 * which only a request could tell: undefined gives both.
 */
export function settingsPage({ owner, name }: PackageName, kind?: 'orgs' | 'users'): string {
  const page = (scope: string): string =>
    `https://github.com/${scope}/${owner}/packages/container/${encodeURIComponent(name)}/settings`;
  return kind === undefined ? `${page('orgs')} (of a person: /users/ instead of /orgs/)` : page(kind);
}

/**
 * What other programs see of our environment: all of it but the secrets that they have no use for.
 *
 * Nix hands its environment on: to git and ssh, to hooks and, without a daemon, to every fixed-output derivation that
 * names a variable in `impureEnvVars`, whoever wrote it (NixOS/nix doc/manual/source/language/advanced-attributes.md).
 * What it needs for GitHub it takes from `access-tokens` in its settings, from netrc or through ssh; a credential helper of
 * git that answers from GITHUB_TOKEN or GH_TOKEN has nothing to answer with (docs/threat-model.md).
 */
import type { Environment } from './environment.ts';
import { hasUrlSecret } from './url-secrets.ts';

/** `nix` stands for all of Nix's programs, and for git and whatever else those start. */
export type ChildKind = 'credential-helper' | 'nix';

const NOBODY: readonly ChildKind[] = [];
const HELPERS: readonly ChildKind[] = ['credential-helper'];
const NIX: readonly ChildKind[] = ['nix'];
const BOTH: readonly ChildKind[] = ['credential-helper', 'nix'];

/** Every variable that is known to hold a secret, and who besides us may see it. */
const SECRETS: ReadonlyMap<string, readonly ChildKind[]> = new Map([
  ['NIXCACHE_PASSWORD', NOBODY],
  ['NIXCACHE_SIGNING_KEY', NOBODY],
  ['NIX_SIGNING_KEY', NOBODY],
  ['GITHUB_TOKEN', NOBODY],
  ['GH_TOKEN', NOBODY],
  ['GITHUB_ENTERPRISE_TOKEN', NOBODY],
  ['GH_ENTERPRISE_TOKEN', NOBODY],
  ['ACTIONS_RUNTIME_TOKEN', NOBODY],
  ['ACTIONS_ID_TOKEN_REQUEST_TOKEN', NOBODY],
  ['DOCKER_AUTH_CONFIG', NOBODY], // the logins of all registries
  // Registries of clouds and of GitLab, whose helpers log in with these.
  ['AZURE_CLIENT_SECRET', HELPERS],
  ['CLOUDSDK_AUTH_ACCESS_TOKEN', HELPERS],
  ['CI_JOB_TOKEN', HELPERS],
  ['CI_REGISTRY_PASSWORD', HELPERS],
  // ECR's helper, and substituters of kind s3.
  ['AWS_ACCESS_KEY_ID', BOTH],
  ['AWS_SECRET_ACCESS_KEY', BOTH],
  ['AWS_SESSION_TOKEN', BOTH],
  // Its settings may hold access-tokens; its post-build-hook may push to other caches.
  ['NIX_CONFIG', NIX],
  ['CACHIX_AUTH_TOKEN', NIX],
  ['CACHIX_SIGNING_KEY', NIX],
]);

/** The names that are ours alone: taken out of our own environment too, no program can inherit them by mistake. */
export const OWN_SECRETS: readonly string[] = [...SECRETS.keys()].filter((name) => SECRETS.get(name) === NOBODY);

/**
 * Whether `value`, of the variable `name`, may be or hold a secret: also one that others are given, as a proxy's login, which
 * may be written without a scheme.
 */
export const holdsSecret = (name: string, value: string): boolean =>
  SECRETS.has(name) || hasUrlSecret(value) || (MAY_HAVE_LOGIN.test(name) && value.includes('@'));

const MAY_HAVE_LOGIN = /^NIXCACHE_|_proxy$/i;

/** `env`, as a program of `kind` gets it. What is for nixcache alone may hold a password anywhere: in an upstream's URL, say. */
export const childEnvironment = (kind: ChildKind, env: Environment): Environment =>
  Object.fromEntries(
    Object.entries(env).filter(
      ([name]) => !name.startsWith('NIXCACHE_') && (SECRETS.get(name)?.includes(kind) ?? true),
    ),
  );

/** Which token GitHub's API gets. What is not for it, it must never see. */
import { isLoopbackHost } from '../http/http-fetch.ts';
import type { CredentialsProvider } from '../oci/remote/credentials.ts';

export interface TokenSources {
  /** Base of the API. */
  readonly api: URL;
  /** The registry's host, as the user writes it. */
  readonly host: string;
  readonly repository: string;
  /** Holds GITHUB_TOKEN and GH_TOKEN. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of the registry. */
  readonly credentials: CredentialsProvider;
}

/** GITHUB_TOKEN, GH_TOKEN, or the registry's password where API and registry are of one GitHub; undefined without any. */
export async function apiToken({ api, host, repository, env, credentials }: TokenSources): Promise<string | undefined> {
  const given = env['GITHUB_TOKEN']?.trim() || env['GH_TOKEN']?.trim();
  if (given) return given;
  if (!areOfOneGithub(api, host)) return undefined;
  const found = await credentials({ host, repository });
  return found?.type === 'basic' ? found.password : undefined;
}

/**
 * `ghcr.io` belongs to `api.github.com`; `containers.HOST` to `HOST/api/v3` (GitHub Enterprise Server) and to `api.HOST`
 * (Enterprise Cloud with data residency). A mirror that `--registry-kind ghcr` calls GHCR belongs to none.
 */
export function areOfOneGithub(api: URL, host: string): boolean {
  const registry = host.toLowerCase().replace(/:\d+$/, '');
  if (isLoopbackHost(registry)) return isLoopbackHost(api.hostname);
  if (/^(.+\.)?ghcr\.io$/.test(registry)) return api.hostname === 'api.github.com';
  return registry === `containers.${api.hostname.replace(/^api\./, '')}`;
}

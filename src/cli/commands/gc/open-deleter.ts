/** What frees storage where the registry's own API cannot: GitHub's Packages API for GHCR. */
import type { CacheSetting } from '../../../config/cache-reference.ts';
import type { BasicCredentials } from '../../../config/credentials.ts';
import { githubApiUrl } from '../../../config/github-api.ts';
import type { ManifestDeleter } from '../../../gc/deleter.ts';
import type { HttpClient } from '../../../http/client.ts';
import { registryKind } from '../../../oci/remote/registry-kinds.ts';
import type { CommandContext } from '../../context.ts';

export interface OpenDeleterOptions {
  readonly http: HttpClient;
  readonly credentials?: BasicCredentials | undefined;
}

/**
 * Undefined where the store itself deletes. octokit is imported here and nowhere else, so that only those pay for it who
 * need it.
 *
 * @throws {NixcacheError} ERR_USAGE; GitHub is not asked yet
 */
export async function openDeleter(
  { reference, registryKind: kind }: CacheSetting,
  { output, env }: CommandContext,
  { http, credentials }: OpenDeleterOptions,
): Promise<ManifestDeleter | undefined> {
  if (reference.kind === 'layout' || registryKind(reference.host, kind).deletes !== 'github-packages') return undefined;
  const url = githubApiUrl(env);
  const { host, repository } = reference;
  const [{ GithubApi }, { GithubPackagesDeleter }, { parsePackageName }, { apiToken }, { credentialsProvider }] =
    await Promise.all([
      import('../../../github/api.ts'),
      import('../../../github/packages-deleter.ts'),
      import('../../../github/package-name.ts'),
      import('../../../github/token.ts'),
      import('../../../oci/remote/credentials.ts'),
    ]);
  const ofRegistry = credentialsProvider({ ...credentials, kind, env: { ...env } });
  const token = await apiToken({ ...{ api: url, host, repository, env }, credentials: ofRegistry });
  output.addSecret(token);
  const onWait = (seconds: number): void => output.info(`GitHub asks to wait ${seconds} s`);
  return new GithubPackagesDeleter({
    api: token === undefined ? undefined : new GithubApi({ ...{ url, token, http, onWait } }),
    package: parsePackageName(repository),
    onDeleted: (tag, id) => output.detail(`deleted package version ${id}, ${tag}`),
  });
}

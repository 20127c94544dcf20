/** What frees storage where the registry's own API cannot: GitHub's Packages API for GHCR. */
import { githubApiUrl } from '../../../config/github-api.ts';
import type { ManifestDeleter } from '../../../gc/deleter.ts';
import { registryKind } from '../../../oci/remote/registry-kinds.ts';
import type { Session } from '../../session/session.ts';

/**
 * Undefined where the store itself deletes. octokit is imported here and nowhere else, so that only those pay for it who
 * need it.
 *
 * @throws {NixcacheError} ERR_USAGE; GitHub is not asked yet
 */
export async function openDeleter(session: Session): Promise<ManifestDeleter | undefined> {
  const { reference, registryKind: kind } = session.cache;
  const { output, env } = session.context;
  if (reference.kind === 'layout' || registryKind(reference.host, kind).deletes !== 'github-packages') return undefined;
  const url = githubApiUrl(env);
  const { host, repository } = reference;
  const [{ GithubApi }, { GithubPackagesDeleter }, { parsePackageName }, { apiToken }, { credentialsProvider }] =
    await Promise.all([
      import('../../../github/api.ts'),
      import('../../../github/packages-deleter.ts'),
      import('../../../github/package-name.ts'),
      import('../../../github/token.ts'),
      import('../../../oci/credentials/find.ts'),
    ]);
  const ofRegistry = credentialsProvider({ ...(await session.credentials()), kind, env });
  const token = await apiToken({ ...{ api: url, host, repository, env }, credentials: ofRegistry });
  output.addSecret(token);
  const onWait = (seconds: number): void => output.info(`GitHub asks to wait ${seconds} s`);
  return new GithubPackagesDeleter({
    api: token === undefined ? undefined : new GithubApi({ ...{ url, token, http: session.http, onWait } }),
    package: parsePackageName(repository),
    onDeleted: (tag, id) => output.detail(`deleted package version ${id}, ${tag}`),
  });
}

/** After the first publish to GHCR: whether anyone may read the new package, and what to click if not. */
import type { CacheSetting } from '../../../config/cache-reference.ts';
import { isNixcacheError, messageOf } from '../../../errors.ts';
import { parsePackageName, settingsPage } from '../../../github/package-name.ts';
import type { HttpFetch } from '../../../http/http-fetch.ts';
import type { TagLister } from '../../../oci/content-store.ts';
import { registryKind } from '../../../oci/remote/registry-kinds.ts';
import type { RemoteRepository } from '../../../oci/remote/repository.ts';
import { schemeOf } from '../../../oci/remote/scheme.ts';
import type { CommandContext } from '../../context.ts';

export interface VisibilityHintOptions {
  readonly cache: CacheSetting;
  readonly store: TagLister;
  readonly http: HttpFetch;
  /** Tags of what this publish committed. */
  readonly segments: readonly string[];
}

/** For all of it: it is a service, and must hold nobody up. */
const TIMEOUT_MS = 15_000;

/**
 * GitHub makes every new package private, and lets no API change that. Only the first publish tells of it: whoever left
 * it private then wants it so. Never fails.
 */
export async function hintVisibility(
  { cache, store, http, segments }: VisibilityHintOptions,
  { output, signal: interrupt }: Pick<CommandContext, 'output' | 'signal'>,
): Promise<void> {
  const { reference, registryKind: kind, plainHttp } = cache;
  if (reference.kind === 'layout' || segments.length === 0) return;
  const { host, repository } = reference;
  if (registryKind(host, kind).name !== 'ghcr') return;
  const signal = AbortSignal.any([interrupt, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const tags = await store.listTags({ signal });
    const own = new Set(segments);
    if (tags.some((tag) => tag.startsWith('seg-') && !own.has(tag))) return;
    const { RemoteRepository } = await import('../../../oci/remote/repository.ts');
    const credentials = async (): Promise<undefined> => undefined;
    const anonymous = new RemoteRepository({
      host,
      repository,
      http,
      kind,
      scheme: schemeOf(reference, plainHttp),
      credentials,
    });
    if (await isReadable(anonymous, signal)) return;
    output.warn(
      `${cache.name} is private, as GitHub makes every new package: readers need a token. To let anyone read it, which ` +
        `cannot be undone: ${settingsPage(parsePackageName(repository))} → Danger Zone → Change visibility → Public`,
    );
  } catch (error) {
    output.detail(`whether anyone may read ${cache.name} could not be found out: ${messageOf(error)}`);
  }
}

async function isReadable(anonymous: RemoteRepository, signal: AbortSignal): Promise<boolean> {
  try {
    return (await anonymous.probeRead({ signal })) === 'there';
  } catch (error) {
    if (isNixcacheError(error, 'ERR_UNAUTHORIZED', 'ERR_FORBIDDEN')) return false;
    throw error;
  }
}

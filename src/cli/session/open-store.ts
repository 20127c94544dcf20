/** From a cache reference to the content store behind it: a layout on disk, or a repository in a registry. */
import type { CacheSetting } from '../../config/cache-reference.ts';
import { type BasicCredentials, CREDENTIALS, resolveCredentials } from '../../config/credentials.ts';
import { resolve, type Sources } from '../../config/setting.ts';
import type { HttpFetch } from '../../http/http-fetch.ts';
import { DEFAULT_RETRY_POLICY, type RetrierOptions } from '../../http/retry.ts';
import type { ContentStore, Deleter, ReadOnlyStore, WriteChecker } from '../../oci/content-store.ts';
import { type CacheReference, formatReference, type RegistryReference } from '../../oci/reference.ts';
import type { CommandContext } from '../context.ts';
import { readStandardInput } from '../standard-input.ts';
import { lateStore } from './late-store.ts';
import { tellingSilence, tellRetries, tellSilence } from './telling-waits.ts';

export interface OpenStoreOptions {
  /** Whether a layout that is not there is made when something is written. Readers see an empty cache instead. */
  readonly create: boolean;
  readonly http: HttpFetch;
  readonly credentials?: BasicCredentials | undefined;
  /** Default: what bears a registry's outage of a minute. */
  readonly retry?: RetrierOptions | undefined;
  /** What deletes in registries whose own API does not. */
  readonly deleter?: Deleter | undefined;
}

const loadLayouts = () => import('../../oci/layout/layout-store.ts');
const loadRegistries = () =>
  Promise.all([
    import('../../oci/remote/repository.ts'),
    import('../../oci/remote/scheme.ts'),
    import('../../oci/credentials/find.ts'),
  ]);

/** Loads what `openStore` needs. */
export async function loadStore({ kind }: CacheReference): Promise<void> {
  await (kind === 'layout' ? loadLayouts() : loadRegistries());
}

/** @throws {NixcacheError} ERR_USAGE, ERR_INDEX, ERR_IO; one on this machine is asked for no more than whether it speaks TLS, others for nothing */
export async function openStore(
  cache: CacheSetting,
  context: CommandContext,
  options: OpenStoreOptions,
): Promise<ContentStore & Deleter & WriteChecker> {
  context.output.detail(`cache: ${cache.name} (${cache.from})`);
  if (cache.reference.kind === 'layout') {
    const { LayoutStore } = await loadLayouts();
    return LayoutStore.open(cache.reference.path, { create: options.create && 'when-written' });
  }
  return openRepository(cache.reference, cache, context, options);
}

/** The same to be read, whoever has to be asked for it first; what is wrong with a registry is said by what is then asked of it. */
export async function openLateStore(
  cache: CacheSetting,
  context: CommandContext,
  options: OpenStoreOptions,
): Promise<ReadOnlyStore> {
  const { reference } = cache;
  if (reference.kind === 'layout') return openStore(cache, context, options);
  context.output.detail(`cache: ${cache.name} (${cache.from})`);
  return lateStore(formatReference(reference), ({ signal = context.signal }) =>
    openRepository(reference, cache, { ...context, signal }, options),
  );
}

async function openRepository(
  reference: RegistryReference,
  cache: CacheSetting,
  { output, env, signal }: Pick<CommandContext, 'output' | 'env' | 'signal'>,
  options: OpenStoreOptions,
): Promise<ContentStore & Deleter & WriteChecker> {
  const [{ RemoteRepository }, { findScheme }, { credentialsProvider }] = await loadRegistries();
  const { host, repository } = reference;
  const { plainHttp } = cache;
  const http = options.retry === undefined ? tellingSilence(options.http, tellSilence(output)) : options.http;
  const kind = cache.registryKind;
  return new RemoteRepository({
    ...{ host, repository, kind, http, scheme: await findScheme(reference, { http, plainHttp, signal }) },
    ...{ deleter: options.deleter, retry: { policy: USUAL_RETRIES, onRetry: tellRetries(output), ...options.retry } },
    credentials: credentialsProvider({ ...options.credentials, kind, env, onWait: (message) => output.info(message) }),
  });
}

/**
 * A registry that goes away while it is being used is waited for, and one that falls silent for two deadlines. One that never was there has a wrong name, or no server
 * running: that is said while whoever asked still looks.
 */
const USUAL_RETRIES = { ...DEFAULT_RETRY_POLICY, firstContactMs: 3000, firstAnswerMs: 15_000, maxSilences: 2 };

/** A password or token with some claims in it is a few KiB. */
const MAX_PASSWORD_BYTES = 64 * 1024;

/** What the user gave for the registry, standard input read if that is where the password comes from. */
export async function readCredentials(
  sources: Sources,
  context: CommandContext,
): Promise<BasicCredentials | undefined> {
  const piped = resolve(CREDENTIALS.passwordStdin, sources)
    ? await readStandardInput(context, { what: 'the password', maxBytes: MAX_PASSWORD_BYTES })
    : undefined;
  const credentials = resolveCredentials(sources, piped?.split(/\r?\n/, 1)[0]);
  context.output.addSecret(credentials?.password);
  return credentials;
}

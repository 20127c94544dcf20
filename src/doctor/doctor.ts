/**
 * Looks at every part between this machine's Nix and the cache. All at once, each with a deadline, nothing twice and
 * nothing written: with the network gone it takes some ten seconds, and says so line by line.
 */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import type { HttpFetch } from '../http/http-fetch.ts';
import type { PublicKey } from '../nix/signature.ts';
import type { NixCommand } from '../nix-store/nix-command.ts';
import type { CredentialsOptions } from '../oci/credentials/find.ts';
import type { CacheReference } from '../oci/reference.ts';
import type { RegistryKindName } from '../oci/remote/registry-kinds.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { checkDisk } from './check-disk.ts';
import { checkIndex, type IndexFindings, withoutIndex } from './check-index.ts';
import { checkLayout } from './check-layout.ts';
import { checkNix, judgeTrust, usesSubstituter } from './check-nix.ts';
import { checkProxy } from './check-proxy.ts';
import { checkRegistry, type StoreFindings } from './check-registry.ts';
import { CHECK_TIMEOUT_MS, within } from './deadline.ts';
import { type Finding, ok, problem, skipped } from './finding.ts';

interface CacheUnderTest {
  readonly reference: CacheReference;
  readonly name: string;
  /** What chose it. */
  readonly from: string;
  /** Undefined: as the host name says. */
  readonly registryKind: RegistryKindName | undefined;
  readonly plainHttp: boolean;
}

/** Whatever may be wrong with the settings is a finding too: so they come as functions that may throw. */
export interface DoctorOptions {
  readonly http: HttpFetch;
  readonly nix: NixCommand;
  readonly cache: () => CacheUnderTest;
  readonly credentials: CredentialsOptions;
  /** A strict reader of the cache that gives up soon. */
  readonly openReader: (cache: CacheUnderTest) => Promise<IndexReader>;
  /** Public halves of this machine's signing keys. */
  readonly signingKeys: () => Promise<readonly PublicKey[]>;
  readonly upstreams: () => readonly Upstream[];
  /** `http://127.0.0.1:37515`: where `serve` would be. */
  readonly serveUrl: string;
  /** Whether the settings name its address or port. */
  readonly isServeConfigured: boolean;
  readonly indexDirectory: (cache: CacheUnderTest) => string;
  readonly now: () => Date;
  readonly signal?: AbortSignal | undefined;
  /** In the order of the report, as soon as may be. */
  readonly onFinding: (finding: Finding) => void;
}

export interface DoctorReport {
  readonly cache: string | undefined;
  readonly problems: number;
  readonly warnings: number;
  readonly findings: readonly Finding[];
}

export async function runDoctor(options: DoctorOptions): Promise<DoctorReport> {
  const { nix, http, serveUrl, signal } = options;
  const { cache, finding } = resolveCache(options);
  const nixFindings = checkNix(nix, signal);
  const store = cache === undefined ? undefined : checkStore(cache, options);
  const index = checkIndexIfAny(cache, store, options);
  const upstreams = checkUpstreams(options);
  const disk = cache === undefined ? undefined : checkDisk(options.indexDirectory(cache));
  const proxy = async (): Promise<Finding> => {
    const { settings } = await nixFindings;
    const isExpected = options.isServeConfigured || usesSubstituter(settings, serveUrl);
    const { reader } = await index;
    return checkProxy({ ...{ http, serveUrl, isExpected, reader, signal }, cacheName: cache?.name });
  };
  const trust = async (): Promise<Finding> => {
    const [{ settings }, { publicKeys }] = await Promise.all([nixFindings, index]);
    return judgeTrust({ settings, publicKeys, serveUrl });
  };
  return collect(cache?.name, options, [
    nixFindings.then(({ findings }) => findings),
    [finding],
    store?.then(({ findings }) => findings) ?? [],
    index.then(({ findings }) => findings),
    upstreams,
    proxy().then((found) => [found]),
    trust().then((found) => [found]),
    disk?.then((found) => [found]) ?? [],
  ]);
}

type Step = readonly Finding[] | Promise<readonly Finding[]>;

async function collect(
  cache: string | undefined,
  options: DoctorOptions,
  steps: readonly Step[],
): Promise<DoctorReport> {
  const settled = steps.map((step) => Promise.resolve(step));
  for (const step of settled) step.catch(() => {}); // awaited below, in order
  const findings: Finding[] = [];
  for (const step of settled) {
    for (const finding of await step) {
      options.signal?.throwIfAborted();
      findings.push(finding);
      options.onFinding(finding);
    }
  }
  const count = (verdict: Finding['verdict']): number => findings.filter((each) => each.verdict === verdict).length;
  return { cache, problems: count('problem'), warnings: count('warning'), findings };
}

function resolveCache({ cache }: DoctorOptions): {
  readonly cache: CacheUnderTest | undefined;
  readonly finding: Finding;
} {
  try {
    const resolved = cache();
    return { cache: resolved, finding: ok('cache', `${resolved.name}, from ${resolved.from}`) };
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return {
      cache: undefined,
      finding: problem('cache', messageOf(error), 'name the cache with --cache or NIXCACHE_CACHE'),
    };
  }
}

async function checkStore(cache: CacheUnderTest, options: DoctorOptions): Promise<StoreFindings> {
  const { reference, registryKind, plainHttp } = cache;
  if (reference.kind === 'layout') return checkLayout(reference);
  const { http, credentials, now, signal } = options;
  return checkRegistry({ reference, registryKind, plainHttp, http, credentials, now, signal });
}

async function checkIndexIfAny(
  cache: CacheUnderTest | undefined,
  store: Promise<StoreFindings> | undefined,
  options: DoctorOptions,
): Promise<IndexFindings> {
  const why = cache === undefined || store === undefined ? 'no cache is known' : (await store).withoutIndex;
  if (cache === undefined || why !== undefined) {
    return withoutIndex(skipped('index', why ?? ''), why ?? '', options);
  }
  const { signingKeys, now, signal } = options;
  return checkIndex({ openReader: () => options.openReader(cache), signingKeys, now, signal });
}

async function checkUpstreams({ upstreams, signal }: DoctorOptions): Promise<readonly Finding[]> {
  let all: readonly Upstream[];
  try {
    all = upstreams();
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return [problem('upstream', messageOf(error), 'mend --upstream, NIXCACHE_UPSTREAM or the config file')];
  }
  if (all.length === 0) return [skipped('upstream', 'none is used')];
  return Promise.all(all.map((upstream) => checkUpstream(upstream, signal)));
}

async function checkUpstream(upstream: Upstream, signal: AbortSignal | undefined): Promise<Finding> {
  const fix =
    'publish would push what it has, and serve lacks it; is a proxy needed (HTTPS_PROXY)? else leave it out: --no-upstream';
  try {
    const info = await within(CHECK_TIMEOUT_MS, `ask ${upstream.name}`, signal, (limit) =>
      upstream.fetchCacheInfo({ signal: limit }),
    );
    if (info === undefined)
      return problem('upstream', `${upstream.name} is no binary cache: it has no nix-cache-info`, fix);
    return ok('upstream', `${upstream.name} answers`);
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return problem('upstream', `${upstream.name} fails: ${messageOf(error)}`, fix);
  }
}

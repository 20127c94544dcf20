/** The registry: does it answer, who are we to it, and what may we and others do? Nothing is written. */
import { isNixcacheError, messageOf } from '../errors.ts';
import { HttpError } from '../http/http-error.ts';
import type { HttpFetch } from '../http/http-fetch.ts';
import { proxyVariable } from '../http/node/proxies.ts';
import { discardBody } from '../http/redirects.ts';
import { type CredentialsOptions, type FoundCredentials, findCredentials } from '../oci/credentials/find.ts';
import type { RegistryReference } from '../oci/reference.ts';
import { apiHost, type RegistryKindName, registryKind } from '../oci/remote/registry-kinds.ts';
import { RemoteRepository } from '../oci/remote/repository.ts';
import { findScheme, type Scheme } from '../oci/remote/scheme.ts';
import { CHECK_TIMEOUT_MS, within } from './deadline.ts';
import { attempt, type Finding, isFinding, ok, problem, skipped, warning } from './finding.ts';

export interface RegistryCheckOptions {
  readonly reference: RegistryReference;
  /** Undefined: as the host name says. */
  readonly registryKind: RegistryKindName | undefined;
  readonly plainHttp: boolean;
  readonly http: HttpFetch;
  readonly credentials: CredentialsOptions;
  readonly now: () => Date;
  readonly signal?: AbortSignal | undefined;
}

export interface StoreFindings {
  /** Why there is no index to look at; undefined when there should be one. */
  readonly withoutIndex: string | undefined;
  readonly findings: readonly Finding[];
}

/** One attempt each: the user waits, and a flaky registry is a finding. */
const ONCE = { policy: { attempts: 1, baseDelayMs: 0, maxDelayMs: 0, deadlineMs: CHECK_TIMEOUT_MS } };

/** How the registry is spoken to is known. */
interface ReachedOptions extends RegistryCheckOptions {
  readonly scheme: Scheme;
}

export async function checkRegistry(asked: RegistryCheckOptions): Promise<StoreFindings> {
  const options = { ...asked, scheme: await findScheme(asked.reference, asked) };
  const reached = await reach(options);
  if (isFinding(reached)) {
    const why = 'the registry cannot be reached';
    const others = (['clock', 'credentials', 'pull', 'public', 'push'] as const).map((check) => skipped(check, why));
    return { withoutIndex: why, findings: [reached, ...others] };
  }
  const { reference, credentials: lookUp } = options;
  const found = await attempt('credentials', undefined, () =>
    findCredentials({ ...reference, signal: options.signal }, lookUp),
  );
  const credentials = isFinding(found) ? undefined : found;
  const [pull, anonymous, push] = await Promise.all([
    readAs(credentials, options),
    readAs(undefined, options),
    isFinding(found) ? undefined : checkPush(credentials, options),
  ]);
  return {
    withoutIndex:
      pull === 'there' ? undefined : pull === 'absent' ? 'nothing was published yet' : 'the cache may not be read',
    findings: [
      ...reached,
      isFinding(found) ? found : describeCredentials(found, anonymous),
      judgePull(pull, credentials, options),
      judgePublic(anonymous, pull, options),
      push ?? skipped('push', 'there are no credentials to try'),
    ],
  };
}

/** `registry` and `clock`; or why there is no answer. */
async function reach(options: ReachedOptions): Promise<readonly Finding[] | Finding> {
  const { reference, http, now, signal, scheme } = options;
  const url = new URL('/v2/', `${scheme}://${apiHost(reference.host)}`);
  const proxy = proxyVariable(url, process.env);
  const proxied = proxy === undefined ? '' : ` (${proxy} is set)`;
  const advice = `try: curl -v ${url}${proxied}`;
  return attempt('registry', advice, async () => {
    const sent = now().getTime();
    const response = await http.request({ url, timeoutMs: CHECK_TIMEOUT_MS, signal });
    await discardBody(response.body);
    const kind = registryKind(reference.host, options.registryKind).name;
    const answers = `${reference.host} answers${scheme === 'http' ? ' without TLS' : ''}${proxied}, and is taken for ${kind}`;
    const registry =
      response.status === 200 || response.status === 401
        ? ok('registry', answers)
        : problem('registry', `GET ${url} answers ${response.status}: ${reference.host} may be no registry`, advice);
    return [registry, judgeClock(response.headers['date'], (sent + now().getTime()) / 2)];
  });
}

/** TLS certificates, tokens and times of publishes bear a little; not more. */
const MAX_SKEW_MS = 60_000;
const MAX_BAD_SKEW_MS = 5 * 60_000;

function judgeClock(date: string | undefined, ours: number): Finding {
  const theirs = Date.parse(date ?? '');
  if (Number.isNaN(theirs)) return skipped('clock', 'the registry does not tell the time');
  const skew = Math.abs(theirs - ours);
  if (skew <= MAX_SKEW_MS) return ok('clock', "this machine's clock agrees with the registry's");
  const message = `this machine's clock is ${Math.round(skew / 1000)} s ${theirs > ours ? 'behind' : 'ahead of'} the registry's: retention and tokens go by it`;
  const fix = 'set it, for example with: timedatectl set-ntp true';
  return skew > MAX_BAD_SKEW_MS ? problem('clock', message, fix) : warning('clock', message, fix);
}

type Access = 'there' | 'absent' | { readonly error: unknown };

async function readAs(found: FoundCredentials | undefined, options: ReachedOptions): Promise<Access> {
  try {
    return await within(CHECK_TIMEOUT_MS, 'read the repository', options.signal, (signal) =>
      repositoryFor(found, options).probeRead({ signal }),
    );
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return { error };
  }
}

function repositoryFor(found: FoundCredentials | undefined, options: ReachedOptions): RemoteRepository {
  const { reference, http, scheme } = options;
  const { host, repository } = reference;
  return new RemoteRepository({
    ...{ host, repository, http, scheme, kind: options.registryKind, retry: ONCE },
    credentials: async () => found?.credentials,
  });
}

const isRefused = (access: Access): boolean =>
  typeof access === 'object' && isNixcacheError(access.error, 'ERR_UNAUTHORIZED', 'ERR_FORBIDDEN');

/** Never the secret: who, and from where. */
function describeCredentials(found: FoundCredentials | undefined, anonymous: Access): Finding {
  if (found !== undefined) {
    const { credentials, from } = found;
    const who = credentials.type === 'basic' ? `user ${credentials.username}` : `an ${credentials.type}`;
    return ok('credentials', `${who}, from ${from}`);
  }
  if (!isRefused(anonymous)) return ok('credentials', 'none were found, and none are needed to read');
  return warning(
    'credentials',
    'none were found, and the registry wants some',
    'docker login, or set NIXCACHE_USERNAME and NIXCACHE_PASSWORD',
  );
}

function judgePull(access: Access, found: FoundCredentials | undefined, { reference }: RegistryCheckOptions): Finding {
  if (access === 'there') return ok('pull', `${reference.repository} is there and may be read`);
  if (access === 'absent') {
    return warning(
      'pull',
      `there is no ${reference.repository} yet, or this user may not know of it`,
      'publish something: nixcache publish',
    );
  }
  const who = found === undefined ? 'without credentials' : `with those from ${found.from}`;
  const fix = isRefused(access)
    ? `log in as a user who may read it: docker login ${reference.host}`
    : access.error instanceof HttpError && !access.error.retryable
      ? 'is it a registry, and the reference right? it will say the same again'
      : 'try again later';
  return problem('pull', `reading ${who} fails: ${messageOf(access.error)}`, fix);
}

function judgePublic(anonymous: Access, pull: Access, options: RegistryCheckOptions): Finding {
  const { reference } = options;
  if (anonymous === 'there') return ok('public', 'anyone may read it');
  if (pull !== 'there') return skipped('public', 'there is nothing to read yet, or we may not read it ourselves');
  if (anonymous !== 'absent' && !isRefused(anonymous)) {
    return skipped('public', `cannot be told: ${messageOf(anonymous.error)}`);
  }
  if (registryKind(reference.host, options.registryKind).name !== 'ghcr') {
    return ok('public', 'only those with credentials may read it; nixcache serve uses those of its machine');
  }
  return warning(
    'public',
    'the package is private, as GitHub makes every new one: clients need a token to read it',
    `to make it public, which cannot be undone: ${settingsUrl(reference)} → Danger Zone → Change visibility → Public`,
  );
}

/** Organisations and users have theirs at different places, and only GitHub knows which OWNER is. */
function settingsUrl({ repository }: RegistryReference): string {
  const [owner = '', ...rest] = repository.split('/');
  const name = encodeURIComponent(rest.join('/'));
  return `https://github.com/users/${owner}/packages/container/${name}/settings (for an organisation /orgs/ instead of /users/)`;
}

async function checkPush(found: FoundCredentials | undefined, options: ReachedOptions): Promise<Finding> {
  const { reference } = options;
  const isGhcr = registryKind(reference.host, options.registryKind).name === 'ghcr';
  try {
    await within(CHECK_TIMEOUT_MS, 'ask whether we may write', options.signal, (signal) =>
      repositoryFor(found, options).probeWrite({ signal }),
    );
    return ok('push', 'this machine may publish');
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    if (isNixcacheError(error, 'ERR_UNAUTHORIZED', 'ERR_FORBIDDEN')) {
      const how = isGhcr
        ? 'a token with write:packages (in Actions: permissions: packages: write)'
        : `a user who may write: docker login ${reference.host}`;
      return warning(
        'push',
        'this machine may not publish; reading needs no more',
        `only to publish from here: ${how}`,
      );
    }
    return warning('push', `cannot be told: ${messageOf(error)}`, 'publish, and see: nixcache publish');
  }
}

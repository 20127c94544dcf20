/** `nixcache serve` on this machine: running, for this cache, and up to date? */
import * as z from 'zod/mini';
import type { IndexReader } from '../cache/read/index-reader.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import type { HttpFetch } from '../http/http-fetch.ts';
import { formatCount } from '../quantity.ts';
import { readBounded } from '../streams/verify.ts';
import { within } from './deadline.ts';
import { type Finding, ok, problem, skipped, warning } from './finding.ts';

export interface ProxyCheckOptions {
  readonly http: HttpFetch;
  /** Without a final slash. */
  readonly serveUrl: string;
  /** Whether someone counts on it: Nix substitutes from it, or the settings name a port. */
  readonly isExpected: boolean;
  readonly cacheName: string | undefined;
  /** The cache as it is now; undefined when that cannot be read. */
  readonly reader: IndexReader | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Part of `/_status`. */
const statusSchema = z.object({
  version: z.string(),
  cache: z.string(),
  entries: z.number(),
  segments: z.number(),
  index: z.object({ ageSeconds: z.nullable(z.number()), lastError: z.nullable(z.string()) }),
});
type Status = z.infer<typeof statusSchema>;

const TIMEOUT_MS = 2000;
const MAX_STATUS_BYTES = 1024 * 1024;

export async function checkProxy(options: ProxyCheckOptions): Promise<Finding> {
  const { serveUrl, isExpected, cacheName } = options;
  let status: Status;
  try {
    status = await fetchStatus(options);
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    if (isNixcacheError(error, 'ERR_FORMAT'))
      return problem('proxy', messageOf(error), 'choose another port: nixcache serve --port');
    if (!isExpected) return skipped('proxy', `nixcache serve does not run at ${serveUrl}, and nothing asks for it`);
    return problem(
      'proxy',
      `nothing answers at ${serveUrl}, where Nix or the settings expect nixcache serve: ${messageOf(error)}`,
      'start it: nixcache serve',
    );
  }
  if (cacheName !== undefined && status.cache !== cacheName) {
    const message = `nixcache serve at ${serveUrl} serves ${status.cache}, not ${cacheName}`;
    return warning('proxy', message, `nixcache serve --from ${cacheName}, or nixcache doctor --from ${status.cache}`);
  }
  return judge(status, options);
}

function judge({ version, entries, segments, index }: Status, { serveUrl, reader }: ProxyCheckOptions): Finding {
  const proxy = `nixcache serve at ${serveUrl} (${version})`;
  const refresh = `curl -X POST ${serveUrl}/_refresh`;
  if (index.lastError !== null)
    return warning('proxy', `${proxy} could not refresh its index: ${index.lastError}`, refresh);
  const now = reader?.status();
  if (now !== undefined && (now.entries !== entries || now.segments !== segments)) {
    const age = index.ageSeconds === null ? 'never read' : `${index.ageSeconds} s old`;
    const message = `${proxy} has ${formatCount(entries, 'entry', 'entries')} in ${formatCount(segments, 'segment')}, the cache ${now.entries} in ${now.segments}; its index is ${age}`;
    return warning('proxy', message, `wait for its next refresh, or: ${refresh}`);
  }
  return ok('proxy', `${proxy} serves what the cache has`);
}

async function fetchStatus({ http, serveUrl, signal }: ProxyCheckOptions): Promise<Status> {
  const url = `${serveUrl}/_status`;
  const bytes = await within(TIMEOUT_MS, `GET ${url}`, signal, async (limit) => {
    const response = await http.request({ url, timeoutMs: TIMEOUT_MS, signal: limit });
    return readBounded(response.body, MAX_STATUS_BYTES, url);
  });
  try {
    return statusSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    throw new NixcacheError('ERR_FORMAT', `what answers at ${serveUrl} is no nixcache`, { cause });
  }
}

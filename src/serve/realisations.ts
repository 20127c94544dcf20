/**
 * `/realisations/<id>.doi`: which path an output of a content-addressed derivation is, as clients up to Nix 2.34 ask for it:
 * from the cache, else from the upstreams. What cannot be told is a miss: then the client builds.
 */
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { formatRealisation, isRealisationId, type Realisation } from '../nix/realisation.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { type Answer, type AskOptions, NOT_FOUND, SHORT_LIVED, textAnswer } from './answer.ts';
import { firstOf } from './first-of.ts';
import type { ServeEvent } from './serve-options.ts';
import type { Trust } from './trust.ts';
import type { Withheld } from './withheld.ts';

export interface RealisationsOptions {
  readonly reader: Pick<CacheReader, 'findRealisation'>;
  readonly upstreams: readonly Pick<Upstream, 'name' | 'fetchRealisation'>[];
  readonly trust: Trust;
  readonly withheld: Pick<Withheld, 'has'>;
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

/** What `path`, which is decoded, gets. Never rejects. */
export async function realisationAnswer(options: RealisationsOptions, path: string, ask: AskOptions): Promise<Answer> {
  const id = /^\/realisations\/(.+)\.doi$/.exec(path)?.[1] ?? '';
  if (!isRealisationId(id)) return NOT_FOUND;
  try {
    const found = (await findOwn(options, id, path)) ?? (await findUpstream(options, id, path, ask));
    return found ? textAnswer(formatRealisation(found), 'application/json', SHORT_LIVED) : NOT_FOUND;
  } catch (error) {
    options.onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    return NOT_FOUND;
  }
}

async function findOwn(
  { reader, trust, withheld, onEvent }: RealisationsOptions,
  id: string,
  path: string,
): Promise<Realisation | undefined> {
  const found = await reader.findRealisation?.(id);
  if (found === undefined || withheld.has(found.entry.narInfo.fileHash)) return undefined;
  if (trust.allows(found.entry.narInfo) && trust.allowsRealisation(found.realisation)) return found.realisation;
  onEvent({ type: 'refused', path, reason: 'no trusted key signed it' });
  return undefined;
}

async function findUpstream(
  { upstreams, trust, headStartMs, timeoutMs, onEvent }: RealisationsOptions,
  id: string,
  path: string,
  { signal: outer, via }: AskOptions,
): Promise<Realisation | undefined> {
  if (upstreams.length === 0) return undefined;
  const onFailure = (upstream: Pick<Upstream, 'name'>, error: unknown): void =>
    onEvent({ type: 'upstream-failed', upstream: upstream.name, path, error: messageOf(error) });
  const ask = async (upstream: Pick<Upstream, 'fetchRealisation'>, signal: AbortSignal) => {
    const found = await upstream.fetchRealisation(id, { signal, via });
    return found && trust.allowsRealisation(found) ? found : undefined;
  };
  const expired = (): Error => new NixcacheError('ERR_UPSTREAM', `no answer within ${timeoutMs} ms`);
  return await withDeadline(timeoutMs, expired, outer, (signal) =>
    firstOf(upstreams, ask, { headStartMs, signal, onFailure }),
  );
}

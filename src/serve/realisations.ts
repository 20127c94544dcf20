/**
 * `/realisations/<id>.doi`: which path an output of a content-addressed derivation is, as clients up to Nix 2.34 ask for it:
 * from the cache, else from the upstreams. What cannot be told is a miss: then the client builds.
 */
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { messageOf } from '../errors.ts';
import { formatRealisation, isRealisationId, type Realisation } from '../nix/realisation.ts';
import { LoopError } from '../upstream/http-source.ts';
import type { Upstream } from '../upstream/upstream.ts';
import { type Answer, type AskOptions, NOT_FOUND, SHORT_LIVED, textAnswer } from './answer.ts';
import { askUpstreams } from './ask-upstreams.ts';
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

/** What is served as `id`; `unknown` where nobody gives it and not all upstreams have answered. Rejects only with the signal's reason. */
export async function findRealisation(
  options: RealisationsOptions,
  id: string,
  ask: AskOptions,
): Promise<Realisation | 'unknown' | undefined> {
  const path = `/realisations/${id}.doi`;
  const own = await findOwn(options, id, path);
  if (own !== undefined) return own;
  let hasFailed = false;
  const onFailure = (error: unknown): void => {
    hasFailed ||= !(error instanceof LoopError);
  };
  const found = await findUpstream(options, id, path, ask, onFailure).catch((error: unknown) => {
    ask.signal?.throwIfAborted();
    onFailure(error);
    return undefined;
  });
  return found ?? (hasFailed ? 'unknown' : undefined);
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
  options: RealisationsOptions,
  id: string,
  path: string,
  ask: AskOptions,
  onFailure: (error: unknown) => void = () => {},
): Promise<Realisation | undefined> {
  const find = async (upstream: Pick<Upstream, 'fetchRealisation'>, asked: AskOptions) => {
    const found = await upstream.fetchRealisation(id, asked).catch((error: unknown) => {
      onFailure(error);
      throw error;
    });
    return found && options.trust.allowsRealisation(found) ? found : undefined;
  };
  return await askUpstreams(options, path, find, ask);
}

/**
 * `/realisations/<id>.doi`: which path an output of a content-addressed derivation is, as clients up to Nix 2.34 ask for it:
 * from the cache, else from the upstreams. What cannot be told is a miss: then the client builds.
 */
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { messageOf } from '../errors.ts';
import { formatRealisation, isRealisationId, type Realisation } from '../nix/realisation.ts';
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
): Promise<Realisation | undefined> {
  const find = async (upstream: Pick<Upstream, 'fetchRealisation'>, asked: AskOptions) => {
    const found = await upstream.fetchRealisation(id, asked);
    return found && options.trust.allowsRealisation(found) ? found : undefined;
  };
  return await askUpstreams(options, path, find, ask);
}

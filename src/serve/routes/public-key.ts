/** `/public-key`: what stands in trusted-public-keys, one a line. */
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import { messageOf } from '../../errors.ts';
import { type Answer, NOT_FOUND, SHORT_LIVED, textAnswer } from '../answer.ts';
import { READ, type Route } from '../route.ts';
import type { ServeEvent } from '../serve-options.ts';

export interface PublicKeyRouteOptions {
  readonly reader: CacheReader;
  readonly publicKeys: readonly string[];
  readonly timeoutMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

export function publicKeyRoute(options: PublicKeyRouteOptions): Route {
  let running: Promise<readonly string[]> | undefined;
  const answer = async (): Promise<Answer> => {
    running ??= fetchKeys(options).finally(() => {
      running = undefined;
    });
    const keys = [...new Set([...options.publicKeys, ...(await running)])];
    const text = `${keys.join('\n')}\n`;
    return keys.length === 0 ? NOT_FOUND : textAnswer(text, 'text/plain; charset=utf-8', SHORT_LIVED);
  };
  return { methods: READ, match: (path) => (path === '/public-key' ? answer : undefined) };
}

async function fetchKeys({ reader, timeoutMs, onEvent }: PublicKeyRouteOptions): Promise<readonly string[]> {
  try {
    return await reader.fetchPublicKeys({ signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    onEvent({ type: 'answer-failed', path: '/public-key', error: messageOf(error) });
    return [];
  }
}

import { formatNixCacheInfo } from '../../nix/nix-cache-info.ts';
import { SHORT_LIVED, textAnswer } from '../answer.ts';
import { READ, type Route } from '../route.ts';

/** `/nix-cache-info`: always there, for an empty cache as well, or Nix would try to write it. */
export function nixCacheInfoRoute(cache: { readonly storeDir: string }, priority: number): Route {
  return {
    methods: READ,
    match: (path) =>
      path === '/nix-cache-info'
        ? () => {
            const text = formatNixCacheInfo({ storeDir: cache.storeDir, wantMassQuery: true, priority });
            return textAnswer(text, 'text/x-nix-cache-info', SHORT_LIVED);
          }
        : undefined,
  };
}

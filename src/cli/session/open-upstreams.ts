/** The upstreams as settings have them, each with a way out of its own where it has a proxy. */
import type { UpstreamSetting } from '../../config/upstreams.ts';
import type { HttpFetch } from '../../http/http-fetch.ts';
import { HttpClient } from '../../http/node/client.ts';
import { type Patience, Upstream } from '../../upstream/upstream.ts';
import { inOrder } from '../../upstream/upstream-cache.ts';
import type { Output } from '../ui/output.ts';
import type { Opened } from './opened.ts';

export interface OpenUpstreamsOptions {
  readonly patience: Patience;
  readonly storeDir?: string | undefined;
  readonly output: Output;
}

/** In the order to ask them. `opened` closes what is made here. */
export function openUpstreams(
  settings: readonly UpstreamSetting[],
  opened: Opened,
  http: HttpFetch,
  { output, ...options }: OpenUpstreamsOptions,
): readonly Upstream[] {
  return inOrder(settings).map((setting) => {
    const { proxy, authorization } = setting;
    output.addSecret(authorization?.replace(/^Basic /, ''));
    output.addSecret(URL.parse(proxy ?? '')?.password);
    const client = proxy === undefined ? http : opened.add(new HttpClient({ proxy }), (proxied) => proxied.destroy());
    return new Upstream(setting, { http: client, ...options });
  });
}

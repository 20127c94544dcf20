/** The app in a Cloudflare Worker (nodejs_compat): the index in the isolate's memory, the bytes from the registry. */
import { IndexReader } from '../../cache/read/index-reader.ts';
import { WebFetch } from '../../http/web-fetch.ts';
import { RemoteRepository } from '../../oci/remote/repository.ts';
import { App } from '../app.ts';

export interface WorkerEnv {
  /** Host name of the registry, with a port if need be. */
  readonly REGISTRY: string;
  readonly REPOSITORY: string;
}

/** Workers send a stream chunked, whatever its headers say, unless it comes through one of these. */
declare const FixedLengthStream: new (length: number) => TransformStream<Uint8Array, Uint8Array>;

let opening: Promise<App> | undefined;

export const worker = {
  async fetch(request: Request, env: WorkerEnv): Promise<Response> {
    opening ??= open(env).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    const app = await opening;
    const response = await app.fetch(request);
    const length = response.headers.get('content-length');
    if (response.body === null || length === null) return response;
    return new Response(response.body.pipeThrough(new FixedLengthStream(Number(length))), response);
  },
};

/** An isolate has 128 MB for all that it does. */
const INSIDE = {
  ...{ surveys: 1, readers: 4, nodes: 50_000, narBytes: 1024 ** 3 },
  ...{ smallNarBytes: 1024 ** 2, keptBytes: 16 * 1024 ** 2 },
} as const;

async function open({ REGISTRY: host, REPOSITORY: repository }: WorkerEnv): Promise<App> {
  const store = new RemoteRepository({ host, repository, http: new WebFetch() });
  const reader = await IndexReader.open({ store, strict: false, onWarning: (message) => console.warn(message) });
  const app = new App({ reader, insideLimits: INSIDE });
  await app.refresher.refresh();
  return app;
}

/** The config file: what may stand in it. Keys are the flags' names with underscores; durations and sizes are text. */
import * as z from 'zod/mini';
import { parseByteSize } from './byte-size.ts';
import { parseCompression } from './compression.ts';
import { parseDuration } from './duration.ts';

const text = leaf((value): value is string => typeof value === 'string' && value.trim() !== '', 'text');
const flag = leaf((value): value is boolean => typeof value === 'boolean', 'true or false');
const texts = leaf(
  (value): value is readonly string[] => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  'a list of texts, like ["one", "two"]',
);
const integer = (least: number, most: number) =>
  leaf(
    (value): value is number => Number.isInteger(value) && Number(value) >= least && Number(value) <= most,
    `a whole number from ${least} to ${most}`,
  );
const duration = leaf(
  (value): value is string => typeof value === 'string' && reads(() => parseDuration(value)),
  'a duration, like "30d", "12h", "90m", "45s" or "2w"',
);
const ttl = leaf(
  (value): value is string | number =>
    reads(() => parseDuration(String(value), { bareSeconds: true })) && ['string', 'number'].includes(typeof value),
  'a duration, like "5m", or a number of seconds',
);
const byteSize = leaf(
  (value): value is string | number =>
    ['string', 'number'].includes(typeof value) && reads(() => parseByteSize(String(value))),
  'a size, like "500M" or "2GiB", or a number of bytes',
);
const compression = leaf(
  (value): value is string => typeof value === 'string' && reads(() => parseCompression(value)),
  '"zstd", "zstd:LEVEL" with a level from 1 to 22, "xz" or "none"',
);

const upstream = z.strictObject({
  url: text,
  public_keys: z.optional(texts),
  proxy: z.optional(text),
  priority: z.optional(integer(0, 1000)),
  timeout: z.optional(ttl),
});

const serve = z.strictObject({
  listen: z.optional(text),
  port: z.optional(integer(0, 65_535)),
  priority: z.optional(integer(0, 1000)),
  index_dir: z.optional(text),
  index_ttl: z.optional(ttl),
  disk_cache: z.optional(byteSize),
  disk_cache_dir: z.optional(text),
  redirect: z.optional(flag),
  upload_token_file: z.optional(text),
});

const publish = z.strictObject({
  flake: z.optional(text),
  kinds: z.optional(texts),
  systems: z.optional(texts),
  only: z.optional(texts),
  exclude: z.optional(texts),
  exclude_paths: z.optional(texts),
  max_nar_size: z.optional(byteSize),
  with_build_deps: z.optional(flag),
  compression: z.optional(compression),
  require_signing: z.optional(flag),
  on_upstream_failure: z.optional(
    leaf((value): value is 'push' | 'fail' => value === 'push' || value === 'fail', '"push" or "fail"'),
  ),
  jobs: z.optional(integer(1, 256)),
});

const gc = z.strictObject({
  grace: z.optional(duration),
  keep_last: z.optional(integer(0, 100_000)),
});

export const configFile = z.strictObject({
  cache: z.optional(text),
  registry_kind: z.optional(text),
  plain_http: z.optional(flag),
  upstreams: z.optional(texts),
  upstream: z.optional(z.array(upstream, { error: 'must be tables, each headed [[upstream]]' })),
  trusted_public_keys: z.optional(texts),
  signing_key_file: z.optional(text),
  signing_key_files: z.optional(texts),
  retain: z.optional(duration),
  serve: z.optional(serve),
  publish: z.optional(publish),
  gc: z.optional(gc),
});

export type ConfigFile = Readonly<z.infer<typeof configFile>>;
export type UpstreamTable = Readonly<z.infer<typeof upstream>>;

/** The keys that may stand where `path` leads to, for suggestions. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  const tables: Readonly<Record<string, object>> = {
    upstream: upstream.shape,
    serve: serve.shape,
    publish: publish.shape,
    gc: gc.shape,
  };
  return Object.keys(path.length === 0 ? configFile.shape : (tables[String(path[0])] ?? {}));
}

function leaf<T>(holds: (value: unknown) => value is T, what: string): z.ZodMiniCustom<T> {
  return z.custom<T>(holds, { error: ({ input }) => `must be ${what}, not ${JSON.stringify(input) ?? 'nothing'}` });
}

function reads(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false; // the message of the leaf says what is allowed
  }
}

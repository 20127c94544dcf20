/** What a reader keeps between runs beside the segments: which of them were live, and who signs. */
import * as z from 'zod/mini';

const stateSchema = z.object({
  version: z.literal(2),
  /** The reference of the cache that all this is of. */
  cache: z.string(),
  /** Live segments when it was written, oldest first. */
  tags: z.array(z.string()),
  publicKeys: z.array(z.string()),
});
export type ReaderState = Omit<z.infer<typeof stateSchema>, 'version' | 'cache'>;

export const encodeState = (state: ReaderState, cache: string): string =>
  JSON.stringify({ version: 2, cache, ...state });

/** The state of `cache`, or undefined when there is none or it is not readable: then the registry is asked afresh. */
export function decodeState(json: string | undefined, cache: string): ReaderState | undefined {
  const state = parse(json, stateSchema);
  return state?.cache === cache ? state : undefined;
}

/** The cache that a state of whatever version is of; undefined when it does not say. */
export const cacheOf = (json: string | undefined): string | undefined =>
  parse(json, z.object({ cache: z.string() }))?.cache;

function parse<T extends z.ZodMiniType>(json: string | undefined, schema: T): z.infer<T> | undefined {
  if (json === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}

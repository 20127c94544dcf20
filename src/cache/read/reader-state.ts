/** What a reader remembers between runs, beside the segments themselves. */
import * as z from 'zod/mini';

const stateSchema = z.object({
  version: z.literal(1),
  /** Live segments when it was written, oldest first. */
  tags: z.array(z.string()),
  publicKeys: z.array(z.string()),
});
export type ReaderState = Omit<z.infer<typeof stateSchema>, 'version'>;

export const encodeState = (state: ReaderState): string => JSON.stringify({ version: 1, ...state });

/** The state, or undefined when there is none or it is not readable: then the registry is asked afresh. */
export function decodeState(json: string | undefined): ReaderState | undefined {
  if (json === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(json));
  } catch {
    return undefined;
  }
}

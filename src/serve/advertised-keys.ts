/** The keys that clients are told to trust, as `name:base64`. */

export interface KnownKeys {
  /** The server's own. */
  readonly own: readonly string[];
  /** Those of which one must have signed what is served, if there are any. */
  readonly trusted: readonly string[];
  /** Those that the cache names: whoever may write to it may have put them there. */
  readonly named: () => Promise<readonly string[]>;
}

/** Once each. What the cache names counts only where this server believes the cache itself. Rejects as `named` does. */
export async function advertisedKeys({ own, trusted, named }: KnownKeys): Promise<readonly string[]> {
  return [...new Set([...own, ...(trusted.length > 0 ? trusted : await named())])];
}

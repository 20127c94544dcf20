/** Tells damage of content from trouble on the way to it: only the former is a finding. */
import { type Trouble, troubleOf as troubleIn } from '../cache/read/problem.ts';
import type { CallOptions } from '../call-options.ts';

/** @throws {NixcacheError} what says nothing about the content: no network, no credentials, a newer format, an abort */
export function troubleOf(error: unknown, { signal }: CallOptions): Trouble {
  signal?.throwIfAborted();
  const trouble = troubleIn(error);
  if (!trouble) throw error;
  return trouble;
}

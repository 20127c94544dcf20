/** Tells damage of content from trouble on the way to it: only the former is a finding. */
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf } from '../errors.ts';

const DAMAGE = ['ERR_INDEX', 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH', 'ERR_FORMAT', 'ERR_RANGE'] as const;

export interface Trouble {
  /** `absent`: not there. `damaged`: there, and not what it should be. `unanswered`: the registry fails on it. */
  readonly kind: 'absent' | 'damaged' | 'unanswered';
  readonly message: string;
}

/** @throws {NixcacheError} what says nothing about the content: no network, no credentials, a newer format, an abort */
export function troubleOf(error: unknown, { signal }: CallOptions): Trouble {
  signal?.throwIfAborted();
  if (isNixcacheError(error, 'ERR_REGISTRY')) return { kind: 'unanswered', message: messageOf(error) };
  if (!isNixcacheError(error, ...DAMAGE)) throw error;
  return { kind: error.code === 'ERR_NOT_FOUND' ? 'absent' : 'damaged', message: messageOf(error) };
}

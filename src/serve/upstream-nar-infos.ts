/** narinfos of the upstreams: asked in order with head starts, parsed, written anew, kept for a while. */
import { LRUCache } from 'lru-cache';
import { messageOf } from '../errors.ts';
import { formatNarInfo, type NarInfo } from '../nix/nar-info.ts';
import type { HashPart } from '../nix/store-path.ts';
import { LeftAloneError } from '../upstream/circuit-breaker.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Answer } from './answer.ts';
import { firstOf } from './first-of.ts';
import { narInfoAnswer } from './nar-info-answer.ts';
import type { ServeEvent } from './serve-options.ts';
import type { Trust } from './trust.ts';
import type { UpstreamNars } from './upstream-nars.ts';

export interface UpstreamNarInfosOptions {
  readonly upstreams: readonly Upstream[];
  readonly nars: UpstreamNars;
  readonly trust: Trust;
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly negativeTtlMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

/** 16 MiB, as for the cache's own. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
const ANSWER_OVERHEAD_BYTES = 600;
/** An hour: what an upstream has it mostly keeps, and a NAR that went away meanwhile is a miss that Nix can take. */
const POSITIVE_TTL_MS = 3_600_000;
/** 65 536 misses of 150 bytes each are 10 MB. */
const MAX_MISSES = 65_536;

export class UpstreamNarInfos {
  readonly #options: UpstreamNarInfosOptions;
  readonly #kept = new LRUCache<HashPart, Answer>({
    maxSize: MAX_KEPT_BYTES,
    sizeCalculation: ({ body }) => ANSWER_OVERHEAD_BYTES + (typeof body === 'string' ? body.length : 0),
    ttl: POSITIVE_TTL_MS,
  });
  readonly #misses: LRUCache<HashPart, true>;
  readonly #running = new Map<HashPart, Promise<Answer | undefined>>();

  constructor(options: UpstreamNarInfosOptions) {
    this.#options = options;
    this.#misses = new LRUCache({ max: MAX_MISSES, ttl: options.negativeTtlMs });
  }

  /** Undefined when no upstream has it, or none that has it answers in time. Never rejects. */
  find(hashPart: HashPart): Answer | undefined | Promise<Answer | undefined> {
    if (this.#options.upstreams.length === 0 || this.#misses.has(hashPart)) return undefined;
    const kept = this.#kept.get(hashPart);
    if (kept !== undefined) return kept;
    let running = this.#running.get(hashPart);
    if (running === undefined) {
      running = this.#ask(hashPart).finally(() => this.#running.delete(hashPart));
      this.#running.set(hashPart, running);
    }
    return running;
  }

  async #ask(hashPart: HashPart): Promise<Answer | undefined> {
    const { upstreams, headStartMs, timeoutMs, onEvent } = this.#options;
    const path = `/${hashPart}.narinfo`;
    let failed = false;
    const onFailure = (upstream: Upstream, error: unknown): void => {
      failed = true;
      if (error instanceof LeftAloneError) return; // told when it began
      onEvent({ type: 'upstream-failed', upstream: upstream.name, path, error: messageOf(error) });
    };
    const signal = AbortSignal.timeout(timeoutMs);
    const ask = async (upstream: Upstream, signal: AbortSignal): Promise<Answer | undefined> => {
      const info = await upstream.fetchNarInfo(hashPart, { signal });
      return info === undefined ? undefined : this.#adopt(upstream, info, path);
    };
    const answer = await firstOf(upstreams, ask, { headStartMs, signal, onFailure });
    if (answer !== undefined) {
      this.#kept.set(hashPart, answer);
    } else if (signal.aborted) {
      const error = `no answer within ${timeoutMs} ms`;
      onEvent({ type: 'upstream-failed', upstream: upstreams.map(({ name }) => name).join(' '), path, error });
    } else if (!failed) {
      this.#misses.set(hashPart, true); // only what every upstream said is remembered
    }
    return answer;
  }

  #adopt(upstream: Upstream, info: NarInfo, path: string): Answer | undefined {
    const { nars, trust, onEvent } = this.#options;
    if (!trust.allows(info)) {
      onEvent({ type: 'refused', path, reason: `no trusted key signed what ${upstream.name} has` });
      return undefined;
    }
    const url = nars.adopt(upstream, info);
    if (url === undefined) {
      onEvent({ type: 'refused', path, reason: `its NAR at ${upstream.name} lies outside that cache` });
      return undefined;
    }
    return narInfoAnswer(formatNarInfo({ ...info, url }));
  }
}

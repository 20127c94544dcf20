/** narinfos of the upstreams: asked in order with head starts, parsed, written anew, kept for a while. */
import { LRUCache } from 'lru-cache';
import { withDeadline } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import type { HashPart } from '../nix/store-path.ts';
import { SharedWork } from '../shared-work.ts';
import { CircuitOpenError } from '../upstream/circuit-breaker.ts';
import { LoopError } from '../upstream/http-source.ts';
import { UnreadableFileError } from '../upstream/unreadable-file.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Answer, AskOptions } from './answer.ts';
import { firstOf } from './first-of.ts';
import { keptAnswers, narInfoAnswer } from './nar-info-answers.ts';
import type { ServeEvent } from './serve-options.ts';
import { parseAnyNarInfo, type StoreDirs } from './store-dirs.ts';
import type { Trust } from './trust.ts';
import type { UpstreamNars } from './upstream-nars.ts';

export interface UpstreamNarInfosOptions {
  readonly upstreams: readonly Upstream[];
  readonly upstreamNars: UpstreamNars;
  readonly trust: Trust;
  readonly storeDirs: Pick<StoreDirs, 'usable' | 'refusalOf' | 'refusalFor'>;
  readonly headStartMs: number;
  readonly timeoutMs: number;
  readonly negativeTtlMs: number;
  readonly onEvent: (event: ServeEvent) => void;
}

/** An hour: what an upstream has it mostly keeps, and a NAR that went away meanwhile is a miss that Nix can take. */
const POSITIVE_TTL_MS = 3_600_000;
/** Ten seconds: what nothing could be made of although it was asked for several times may be right soon. */
const UNREADABLE_TTL_MS = 10_000;
/** 65 536 misses of 150 bytes each are 10 MB. */
const MAX_MISSES = 65_536;

interface Found {
  readonly answer: Answer;
  readonly upstream: Upstream;
}

export class UpstreamNarInfos {
  readonly #options: UpstreamNarInfosOptions;
  readonly #kept = keptAnswers(POSITIVE_TTL_MS);
  readonly #misses: LRUCache<HashPart, true>;
  readonly #running = new Map<string, SharedWork<Answer | undefined>>();
  /** Which upstream gave the narinfo. */
  readonly #sources = new LRUCache<HashPart, Upstream>({ max: MAX_MISSES });
  readonly #loops = new Set<Upstream>();

  constructor(options: UpstreamNarInfosOptions) {
    this.#options = options;
    this.#misses = new LRUCache({ max: MAX_MISSES, ttl: options.negativeTtlMs });
  }

  /** Undefined when no upstream has it, or none that has it answers in time. Never rejects. */
  find(hashPart: HashPart, options: AskOptions): Answer | undefined | Promise<Answer | undefined> {
    if (this.#options.upstreams.length === 0 || this.#misses.has(hashPart)) return undefined;
    const kept = this.#kept.get(hashPart);
    if (kept !== undefined) return kept;
    const { via } = options;
    // Servers that ask each other would else wait for each other.
    const key = `${hashPart} ${via}`;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = new SharedWork((signal) =>
        this.#ask(hashPart, { signal, via }).finally(() => this.#running.delete(key)),
      );
      this.#running.set(key, running);
    }
    return running.join(options).catch(() => undefined); // only who left gets an error, and reads no answer
  }

  /** The upstream whose narinfo of this path is given; undefined when none has it. */
  async findSource(hashPart: HashPart, options: AskOptions): Promise<Upstream | undefined> {
    const answer = await this.find(hashPart, options);
    return answer === undefined ? undefined : this.#sources.get(hashPart);
  }

  /** What was said of this path is not so. */
  forget(hashPart: HashPart): void {
    this.#kept.delete(hashPart);
  }

  /** Forgets what was found, and what was not. */
  clear(): void {
    this.#kept.clear();
    this.#misses.clear();
  }

  async #ask(
    hashPart: HashPart,
    { signal: outer, via }: AskOptions & { readonly signal: AbortSignal },
  ): Promise<Answer | undefined> {
    const { storeDirs, headStartMs, timeoutMs, onEvent } = this.#options;
    const upstreams = storeDirs.usable;
    const path = `/${hashPart}.narinfo`;
    let failed = false;
    let isUnreadable = false;
    const onFailure = (upstream: Upstream, error: unknown): void => {
      if (error instanceof LoopError) {
        this.#looped(upstream, path, error);
        return;
      }
      if (error instanceof UnreadableFileError) isUnreadable = true;
      else failed = true;
      if (error instanceof CircuitOpenError) return; // told when it began
      onEvent({ type: 'upstream-failed', upstream: upstream.name, path, error: messageOf(error) });
    };
    const ask = async (upstream: Upstream, signal: AbortSignal): Promise<Found | undefined> => {
      const info = await upstream.fetchNarInfo(hashPart, { signal, via }, parseAnyNarInfo);
      const answer = info && (await this.#adopt(upstream, info, { path, signal }));
      return answer && { answer, upstream };
    };
    const expired = (): Error => {
      failed = true;
      const error = `no answer within ${timeoutMs} ms`;
      onEvent({ type: 'upstream-failed', upstream: upstreams.map(({ name }) => name).join(' '), path, error });
      return new NixcacheError('ERR_UPSTREAM', error);
    };
    const found = await withDeadline(timeoutMs, expired, outer, (signal) =>
      firstOf(upstreams, ask, { headStartMs, signal, onFailure }),
    );
    if (found !== undefined) {
      this.#kept.set(hashPart, found.answer);
      this.#sources.set(hashPart, found.upstream);
    }
    // Only what every upstream said is remembered.
    else if (!failed && !outer.aborted) {
      const { negativeTtlMs } = this.#options;
      const ttl = isUnreadable ? Math.min(negativeTtlMs, UNREADABLE_TTL_MS) : negativeTtlMs;
      this.#misses.set(hashPart, true, { ttl });
    }
    return found?.answer;
  }

  /** An upstream that is this server has nothing to add, which is said once. */
  #looped(upstream: Upstream, path: string, error: LoopError): void {
    if (this.#loops.has(upstream)) return;
    this.#loops.add(upstream);
    this.#options.onEvent({ type: 'upstream-failed', upstream: upstream.name, path, error: error.message });
  }

  async #adopt(
    upstream: Upstream,
    info: NarInfo,
    { path, signal }: AskOptions & { readonly path: string },
  ): Promise<Answer | undefined> {
    const { upstreamNars, trust, storeDirs, onEvent } = this.#options;
    const refusal = await storeDirs.refusalFor(upstream, info, { signal });
    if (refusal !== undefined) {
      // Of one that says so of itself, all is told.
      if (storeDirs.refusalOf(upstream) === undefined) {
        onEvent({ type: 'refused', path, reason: `at ${upstream.name} ${refusal}` });
      }
      return undefined;
    }
    const adopted = trust.allows(info)
      ? await upstreamNars.adopt(upstream, info)
      : { refused: `no trusted key signed what ${upstream.name} has` };
    if ('text' in adopted) return narInfoAnswer(adopted.text);
    onEvent({ type: 'refused', path, reason: adopted.refused });
    return undefined;
  }
}

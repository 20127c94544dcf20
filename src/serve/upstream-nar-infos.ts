/**
 * narinfos of the upstreams: asked in order with head starts, parsed, written anew, kept for a while; on disk for longer, for the
 * time when nobody answers.
 */
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
import { parseAnyNarInfo } from './any-nar-info.ts';
import { firstOf } from './first-of.ts';
import type { KeptNarInfo, KeptNarInfos } from './kept-nar-infos.ts';
import type { KeptNars } from './kept-nars.ts';
import { keptAnswers, narInfoAnswer } from './nar-info-answers.ts';
import type { UpstreamNar } from './open-nar.ts';
import type { Counters, ServeEvent } from './serve-options.ts';
import type { StoreDirs } from './store-dirs.ts';
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
  readonly counters: Pick<Counters, 'narInfoDiskHits'>;
  readonly now: () => Date;
  /** What is on disk of earlier answers, and of NARs. */
  readonly keptNarInfos?: KeptNarInfos | undefined;
  readonly kept?: Pick<KeptNars, 'settle'> | undefined;
  readonly onEvent: (event: ServeEvent) => void;
}

/** An hour: what an upstream has it mostly keeps, and a NAR that went away meanwhile is a miss that Nix can take. */
const POSITIVE_TTL_MS = 3_600_000;
/** Ten seconds: what nothing could be made of although it was asked for several times may be right soon. */
const UNREADABLE_TTL_MS = 10_000;
/** A minute: what was said long ago, and could not be asked again just now. */
const OLD_TTL_MS = 60_000;
/** 65 536 misses of 150 bytes each are 10 MB. */
const MAX_MISSES = 65_536;

interface Found {
  readonly answer: Answer;
  readonly upstream: Upstream;
  readonly info: NarInfo;
  readonly nar: UpstreamNar;
}

interface Asked {
  readonly found: Found | undefined;
  /** Not all of them have answered. */
  readonly failed: boolean;
  /** Nothing could be made of what one of them said. */
  readonly isUnreadable: boolean;
}

/** What the upstreams say of a path. */
interface Said {
  readonly answer: Answer | undefined;
  /** Nobody gave it, and not all have answered so that it could be understood. */
  readonly isUnsure: boolean;
}

const NOBODY_HAS_IT: Said = { answer: undefined, isUnsure: false };

interface AskContext extends AskOptions {
  readonly path: string;
  readonly signal: AbortSignal;
}

export class UpstreamNarInfos {
  readonly #options: UpstreamNarInfosOptions;
  readonly #kept = keptAnswers(POSITIVE_TTL_MS);
  /** With whether all have answered so that it could be understood. */
  readonly #misses: LRUCache<HashPart, Said>;
  readonly #running = new Map<string, SharedWork<Said>>();
  /** Which upstream gave the narinfo. */
  readonly #sources = new LRUCache<HashPart, Upstream>({ max: MAX_MISSES });
  readonly #loops = new Set<Upstream>();
  /** What was said before is asked again. In milliseconds since the epoch. */
  #believedFrom = 0;

  constructor(options: UpstreamNarInfosOptions) {
    this.#options = options;
    this.#misses = new LRUCache({ max: MAX_MISSES, ttl: options.negativeTtlMs });
  }

  /** Undefined when no upstream has it, or none that has it answers in time. Never rejects. */
  find(hashPart: HashPart, options: AskOptions): Answer | undefined | Promise<Answer | undefined> {
    const said = this.#find(hashPart, options);
    return said instanceof Promise ? said.then(({ answer }) => answer) : said.answer;
  }

  /** The same for whoever has to know whether nobody has it. */
  async findInfo(hashPart: HashPart, options: AskOptions): Promise<NarInfo | 'unknown' | undefined> {
    const { answer, isUnsure } = await this.#find(hashPart, options);
    if (answer === undefined) return isUnsure ? 'unknown' : undefined;
    return typeof answer.body === 'string' ? parseAnyNarInfo(answer.body) : 'unknown';
  }

  #find(hashPart: HashPart, options: AskOptions): Said | Promise<Said> {
    if (this.#options.upstreams.length === 0) return NOBODY_HAS_IT;
    const miss = this.#misses.get(hashPart);
    if (miss !== undefined) return miss;
    const kept = this.#kept.get(hashPart);
    if (kept !== undefined) return { answer: kept, isUnsure: false };
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
    return running.join(options).catch(() => ({ answer: undefined, isUnsure: true })); // only who left gets an error
  }

  /** The upstream whose narinfo of this path is given; undefined when none has it. */
  async findSource(hashPart: HashPart, options: AskOptions): Promise<Upstream | undefined> {
    const answer = await this.find(hashPart, options);
    return answer === undefined ? undefined : this.#sources.get(hashPart);
  }

  /** What was said of this path is not so. */
  forget(hashPart: HashPart): void {
    this.#kept.delete(hashPart);
    for (const upstream of this.#options.upstreams) void this.#options.keptNarInfos?.remove(upstream, hashPart);
  }

  /** Forgets what was found, and what was not. */
  clear(): void {
    this.#kept.clear();
    this.#misses.clear();
  }

  /** The same, and has the upstreams asked what they have said before. */
  askAnew(): void {
    this.clear();
    this.#believedFrom = this.#options.now().getTime();
  }

  async #ask(hashPart: HashPart, { signal, via }: AskOptions & { readonly signal: AbortSignal }): Promise<Said> {
    const { kept, counters } = this.#options;
    const context = { path: `/${hashPart}.narinfo`, signal, via };
    const old = await this.#recall(hashPart, context);
    if (old !== undefined && (old.isFresh || kept?.settle(old.nar) !== undefined)) {
      this.#keep(hashPart, old, old.isFresh ? POSITIVE_TTL_MS : OLD_TTL_MS);
      counters.narInfoDiskHits += 1;
      // All that it takes is here: nobody waits for what it may have become.
      if (!old.isFresh) void this.#askUpstreams(hashPart, { ...context, signal: new AbortController().signal });
      return { answer: old.answer, isUnsure: false };
    }
    const { found, failed, isUnreadable } = await this.#askUpstreams(hashPart, context);
    const isUnsure = failed || isUnreadable;
    if (found !== undefined || old === undefined || !isUnsure || signal.aborted)
      return { answer: found?.answer, isUnsure };
    this.#keep(hashPart, old, OLD_TTL_MS);
    counters.narInfoDiskHits += 1;
    return { answer: old.answer, isUnsure: false };
  }

  /** What an upstream said in an earlier run, or long ago. */
  async #recall(hashPart: HashPart, context: AskContext): Promise<(Found & { readonly isFresh: boolean }) | undefined> {
    const { keptNarInfos, storeDirs, now } = this.#options;
    const said: KeptNarInfo | undefined = await keptNarInfos?.find(storeDirs.usable, hashPart);
    const found = said && (await this.#adopt(said.upstream, said.info, context));
    if (said === undefined || found === undefined) return undefined;
    const age = now().getTime() - said.saidAt;
    return { ...found, isFresh: age >= 0 && age < POSITIVE_TTL_MS && said.saidAt > this.#believedFrom };
  }

  #keep(hashPart: HashPart, { answer, upstream }: Found, ttl: number): void {
    this.#kept.set(hashPart, answer, { ttl });
    this.#sources.set(hashPart, upstream);
  }

  /** Asks them all, and remembers what they say. Never rejects. */
  async #askUpstreams(hashPart: HashPart, context: AskContext): Promise<Asked> {
    const { upstreams, keptNarInfos, negativeTtlMs } = this.#options;
    const asked = await this.#firstOfUpstreams(hashPart, context);
    const { found, failed, isUnreadable } = asked;
    if (found !== undefined) {
      this.#keep(hashPart, found, POSITIVE_TTL_MS);
      void keptNarInfos?.keep(found.upstream, found.info);
    } else if (!failed && !context.signal.aborted) {
      // Only what every upstream said is remembered.
      const ttl = isUnreadable ? Math.min(negativeTtlMs, UNREADABLE_TTL_MS) : negativeTtlMs;
      this.#misses.set(hashPart, { answer: undefined, isUnsure: isUnreadable }, { ttl });
      this.#kept.delete(hashPart);
      if (!isUnreadable) for (const upstream of upstreams) void keptNarInfos?.remove(upstream, hashPart);
    }
    return asked;
  }

  async #firstOfUpstreams(hashPart: HashPart, { path, signal: outer, via }: AskContext): Promise<Asked> {
    const { storeDirs, headStartMs, timeoutMs, onEvent } = this.#options;
    const upstreams = storeDirs.usable;
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
      return info && (await this.#adopt(upstream, info, { path, signal }));
    };
    const expired = (): Error => {
      failed = true;
      const error = `no answer within ${timeoutMs} ms`;
      onEvent({ type: 'upstream-failed', upstream: upstreams.map(({ name }) => name).join(' '), path, error });
      return new NixcacheError('ERR_UPSTREAM', error);
    };
    const asking = withDeadline(timeoutMs, expired, outer, (signal) =>
      firstOf(upstreams, ask, { headStartMs, signal, onFailure }),
    );
    const found = await asking.catch(() => undefined); // which was told, or nobody waits
    return { found, failed, isUnreadable };
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
  ): Promise<Found | undefined> {
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
    if ('text' in adopted) return { answer: narInfoAnswer(adopted.text), upstream, info, nar: adopted.nar };
    onEvent({ type: 'refused', path, reason: adopted.refused });
    return undefined;
  }
}

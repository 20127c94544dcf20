/** `/<32 characters>.narinfo`: from the cache, else from the upstreams, else 404. Trouble is a miss, never a 5xx. */
import { LRUCache } from 'lru-cache';
import type { CacheReader } from '../../cache/read/cache-reader.ts';
import type { Awaitable } from '../../cache/read/index-store.ts';
import type { Entry } from '../../cache-index/entry.ts';
import { messageOf } from '../../errors.ts';
import { HASH_PART_LENGTH, type HashPart, isHashPart } from '../../nix/store-path.ts';
import { type Answer, NOT_FOUND } from '../answer.ts';
import type { Counters } from '../counters.ts';
import { narInfoAnswer } from '../nar-info-answer.ts';
import { READ, type Route } from '../route.ts';
import type { ServeEvent } from '../serve-options.ts';
import type { Trust } from '../trust.ts';
import type { UpstreamNarInfos } from '../upstream-nar-infos.ts';

export interface NarInfoRouteOptions {
  readonly reader: CacheReader;
  readonly upstreams: UpstreamNarInfos;
  readonly trust: Trust;
  readonly counters: Counters;
  readonly onEvent: (event: ServeEvent) => void;
}

const SUFFIX = '.narinfo';
const PATH_LENGTH = 1 + HASH_PART_LENGTH + SUFFIX.length;
/** 16 MiB of answers are about 10 000 narinfos: more than one machine's system has paths. */
const MAX_READY_BYTES = 16 * 1024 * 1024;
const ANSWER_OVERHEAD_BYTES = 600;
/** 16 384 of 150 bytes are 2.5 MB. */
const MAX_REFUSED = 16_384;

export class NarInfoRoute implements Route {
  readonly methods = READ;
  readonly #options: NarInfoRouteOptions;
  readonly #ready = new LRUCache<string, Answer>({
    maxSize: MAX_READY_BYTES,
    sizeCalculation: ({ body }) => ANSWER_OVERHEAD_BYTES + (typeof body === 'string' ? body.length : 0),
  });

  /** Entries that no trusted key signed, so that each is verified and reported once. */
  readonly #refused = new LRUCache<HashPart, true>({ max: MAX_REFUSED });

  constructor(options: NarInfoRouteOptions) {
    this.#options = options;
  }

  match(path: string): (() => Answer | Promise<Answer>) | undefined {
    if (path.length !== PATH_LENGTH || !path.endsWith(SUFFIX)) return undefined;
    const hashPart = path.slice(1, 1 + HASH_PART_LENGTH);
    return isHashPart(hashPart) ? () => this.answer(path, hashPart) : undefined;
  }

  /** The answer if `target`, a raw request target, was asked for before and is in the cache: the hot path. */
  findReady(target: string): Answer | undefined {
    const answer = this.#ready.get(target);
    if (answer !== undefined) this.#options.counters.narInfoHits += 1;
    return answer;
  }

  answer(path: string, hashPart: HashPart): Answer | Promise<Answer> {
    const known = this.findReady(path);
    if (known !== undefined) return known;
    const text = this.#find(path, hashPart);
    // Most readers have it at hand: then nothing waits for a turn of the event loop.
    return text instanceof Promise
      ? text.then((late) => this.#answer(path, hashPart, late))
      : this.#answer(path, hashPart, text);
  }

  #answer(path: string, hashPart: HashPart, text: string | undefined): Answer | Promise<Answer> {
    const { upstreams, counters } = this.#options;
    if (text !== undefined) {
      const answer = narInfoAnswer(text);
      this.#ready.set(path, answer);
      counters.narInfoHits += 1;
      return answer;
    }
    const found = upstreams.find(hashPart);
    return found instanceof Promise ? found.then((answer) => this.#count(answer)) : this.#count(found);
  }

  /** Forgets what the index said before. */
  clear(): void {
    this.#ready.clear();
    this.#refused.clear();
  }

  #count(answer: Answer | undefined): Answer {
    if (answer === undefined) this.#options.counters.narInfoMisses += 1;
    else this.#options.counters.narInfoUpstreamHits += 1;
    return answer ?? NOT_FOUND;
  }

  #find(path: string, hashPart: HashPart): Awaitable<string | undefined> {
    if (this.#refused.has(hashPart)) return undefined;
    const failed = (error: unknown): undefined => {
      this.#options.onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    };
    try {
      const text = this.#options.reader.findNarInfoText(hashPart);
      const found =
        text instanceof Promise
          ? text.then((late) => this.#trusted(path, hashPart, late))
          : this.#trusted(path, hashPart, text);
      return found instanceof Promise ? found.catch(failed) : found;
    } catch (error) {
      return failed(error);
    }
  }

  /** The text, if those whom we trust signed it. */
  #trusted(path: string, hashPart: HashPart, text: string | undefined): Awaitable<string | undefined> {
    const { reader, trust, onEvent } = this.#options;
    if (text === undefined || !trust.isOn) return text;
    const judge = (entry: Entry | undefined): string | undefined => {
      if (entry !== undefined && trust.allows(entry.narInfo)) return text;
      this.#refused.set(hashPart, true);
      onEvent({ type: 'refused', path, reason: 'no trusted key signed it' });
      return undefined;
    };
    const entry = reader.findEntry(hashPart);
    return entry instanceof Promise ? entry.then(judge) : judge(entry);
  }
}

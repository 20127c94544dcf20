/** `/<32 characters>.narinfo`: from the cache, else from the upstreams, else 404. Trouble is a miss, never a 5xx. */
import { LRUCache } from 'lru-cache';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf } from '../errors.ts';
import { HASH_PART_LENGTH, type HashPart, isHashPart } from '../nix/store-path.ts';
import { type Answer, NOT_FOUND } from './answer.ts';
import { keptAnswers, narInfoAnswer } from './nar-info-answers.ts';
import type { Counters, ServeEvent } from './serve-options.ts';
import type { Trust } from './trust.ts';
import type { UpstreamNarInfos } from './upstream-nar-infos.ts';

export interface NarInfosOptions {
  readonly reader: Pick<CacheReader, 'findNarInfoText' | 'findEntry'>;
  readonly upstreams: Pick<UpstreamNarInfos, 'find'>;
  readonly trust: Trust;
  readonly counters: Counters;
  readonly onEvent: (event: ServeEvent) => void;
}

const SUFFIX = '.narinfo';
const PATH_LENGTH = 1 + HASH_PART_LENGTH + SUFFIX.length;
/** 16 384 of 150 bytes are 2.5 MB. */
const MAX_REFUSED = 16_384;

export class NarInfos {
  readonly #options: NarInfosOptions;
  readonly #ready = keptAnswers();
  /** Entries that no trusted key signed, so that each is verified and reported once. */
  readonly #refused = new LRUCache<HashPart, true>({ max: MAX_REFUSED });

  constructor(options: NarInfosOptions) {
    this.#options = options;
  }

  /** What `path` gets, which may be a raw request target; undefined if it names no narinfo. Never throws or rejects. */
  answer(path: string, options: CallOptions): Answer | Promise<Answer> | undefined {
    const { counters } = this.#options;
    const known = this.#ready.get(path);
    if (known !== undefined) {
      counters.narInfoHits += 1;
      return known;
    }
    if (path.length !== PATH_LENGTH || !path.endsWith(SUFFIX)) return undefined;
    const hashPart = path.slice(1, 1 + HASH_PART_LENGTH);
    if (path[0] !== '/' || !isHashPart(hashPart)) return undefined;
    const text = this.#find(path, hashPart);
    return text instanceof Promise
      ? text.then((text) => this.#answerWith(text, path, hashPart, options))
      : this.#answerWith(text, path, hashPart, options);
  }

  /** Forgets what the index said before. */
  clear(): void {
    this.#ready.clear();
    this.#refused.clear();
  }

  #answerWith(
    text: string | undefined,
    path: string,
    hashPart: HashPart,
    options: CallOptions,
  ): Answer | Promise<Answer> {
    const { counters, upstreams } = this.#options;
    if (text !== undefined) {
      const answer = narInfoAnswer(text);
      this.#ready.set(path, answer);
      counters.narInfoHits += 1;
      return answer;
    }
    const found = upstreams.find(hashPart, options);
    return found instanceof Promise ? found.then((answer) => this.#count(answer)) : this.#count(found);
  }

  #count(answer: Answer | undefined): Answer {
    if (answer === undefined) this.#options.counters.narInfoMisses += 1;
    else this.#options.counters.narInfoUpstreamHits += 1;
    return answer ?? NOT_FOUND;
  }

  /** The text that the cache has and that may be served. */
  #find(path: string, hashPart: HashPart): string | undefined | Promise<string | undefined> {
    const { reader, trust } = this.#options;
    if (this.#refused.has(hashPart)) return undefined;
    try {
      const text = reader.findNarInfoText(hashPart);
      if (text === undefined || (typeof text === 'string' && !trust.isOn)) return text;
      return this.#trusted(text, path, hashPart).catch((error: unknown) => this.#failed(path, error));
    } catch (error) {
      return this.#failed(path, error);
    }
  }

  async #trusted(
    found: string | Promise<string | undefined>,
    path: string,
    hashPart: HashPart,
  ): Promise<string | undefined> {
    const { reader, trust, onEvent } = this.#options;
    const text = await found;
    if (text === undefined || !trust.isOn) return text;
    const entry = await reader.findEntry(hashPart);
    if (entry !== undefined && trust.allows(entry.narInfo)) return text;
    this.#refused.set(hashPart, true);
    onEvent({ type: 'refused', path, reason: 'no trusted key signed it' });
    return undefined;
  }

  #failed(path: string, error: unknown): undefined {
    this.#options.onEvent({ type: 'answer-failed', path, error: messageOf(error) });
  }
}

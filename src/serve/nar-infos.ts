/** `/<32 characters>.narinfo`: from the cache, else from the upstreams, else 404. Trouble is a miss, never a 5xx. */
import { LRUCache } from 'lru-cache';
import type { CacheReader } from '../cache/read/cache-reader.ts';
import { type Entry, narUrl } from '../cache-index/entry.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import { formatNarInfo } from '../nix/nar-info.ts';
import { HASH_PART_LENGTH, type HashPart, hashPartOf, isHashPart } from '../nix/store-path.ts';
import { type Answer, type AskOptions, NOT_FOUND } from './answer.ts';
import type { FirstLoad } from './index-refresher.ts';
import { keptAnswers, narInfoAnswer } from './nar-info-answers.ts';
import { faultOf } from './nar-info-faults.ts';
import type { Counters, ServeEvent } from './serve-options.ts';
import type { Trust } from './trust.ts';
import type { UpstreamNarInfos } from './upstream-nar-infos.ts';
import type { Withheld } from './withheld.ts';

export interface NarInfosOptions {
  readonly reader: Pick<CacheReader, 'findEntry' | 'entriesOf'>;
  readonly upstreams: Pick<UpstreamNarInfos, 'find'>;
  readonly trust: Trust;
  readonly withheld: Pick<Withheld, 'has'>;
  readonly counters: Counters;
  readonly onEvent: (event: ServeEvent) => void;
  readonly firstLoad: FirstLoad;
}

const SUFFIX = '.narinfo';
const PATH_LENGTH = 1 + HASH_PART_LENGTH + SUFFIX.length;
/** 16 384 of 150 bytes are 2.5 MB. */
const MAX_REFUSED = 16_384;

export class NarInfos {
  readonly #options: NarInfosOptions;
  readonly #ready = keptAnswers();
  /** Entries that are not served, so that each is looked at and reported once. */
  readonly #refused = new LRUCache<HashPart, true>({ max: MAX_REFUSED });

  constructor(options: NarInfosOptions) {
    this.#options = options;
  }

  /** What `path` gets, which may be a raw request target; undefined if it names no narinfo. Never throws or rejects. */
  answer(path: string, options: AskOptions): Answer | Promise<Answer> | undefined {
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

  /** Forgets what was answered of one path. */
  forget(hashPart: HashPart): void {
    this.#ready.delete(`/${hashPart}${SUFFIX}`);
    this.#refused.delete(hashPart);
  }

  /** Forgets what was answered from the index before. */
  clear(): void {
    this.#ready.clear();
    this.#refused.clear();
  }

  #answerWith(
    text: string | undefined,
    path: string,
    hashPart: HashPart,
    options: AskOptions,
  ): Answer | Promise<Answer> {
    if (text !== undefined) return this.#own(text, path);
    const loaded = this.#options.firstLoad();
    const found = this.#options.upstreams.find(hashPart, options);
    const orNot = (answer: Answer | undefined): Answer | Promise<Answer> => {
      if (answer === undefined) return this.#missed(path, hashPart, loaded?.(options));
      this.#options.counters.narInfoUpstreamHits += 1;
      return answer;
    };
    return found instanceof Promise ? found.then(orNot) : orNot(found);
  }

  #own(text: string, path: string): Answer {
    const answer = narInfoAnswer(text);
    this.#ready.set(path, answer);
    this.#options.counters.narInfoHits += 1;
    return answer;
  }

  /** Nobody has it, unless the cache does, once it is known. */
  #missed(path: string, hashPart: HashPart, loading: Promise<void> | undefined): Answer | Promise<Answer> {
    const { counters } = this.#options;
    const orMiss = (text: string | undefined): Answer => {
      if (text !== undefined) return this.#own(text, path);
      counters.narInfoMisses += 1;
      return NOT_FOUND;
    };
    return loading === undefined ? orMiss(undefined) : loading.then(() => this.#find(path, hashPart)).then(orMiss);
  }

  /** The text of what the cache has and may be served, written anew from what was checked. */
  #find(path: string, hashPart: HashPart): string | undefined | Promise<string | undefined> {
    if (this.#refused.has(hashPart)) return undefined;
    try {
      const entry = this.#options.reader.findEntry(hashPart);
      if (!(entry instanceof Promise)) return this.#render(entry, path, hashPart);
      const text = entry.then((entry) => this.#render(entry, path, hashPart));
      return text.catch((error: unknown) => this.#failed(path, hashPart, error));
    } catch (error) {
      return this.#failed(path, hashPart, error);
    }
  }

  #render(entry: Entry | undefined, path: string, hashPart: HashPart): string | undefined {
    const { withheld, onEvent } = this.#options;
    if (entry === undefined || withheld.has(entry.narInfo.fileHash)) return undefined;
    const read = this.#read(entry, hashPart);
    if ('text' in read) return read.text;
    onEvent({ type: 'refused', path, reason: read.refused });
    const text = this.#findOlder(hashPart);
    if (text === undefined) this.#refused.set(hashPart, true);
    return text;
  }

  /** Whoever may write to the cache must not hide what others wrote, and signed, before. */
  #findOlder(hashPart: HashPart): string | undefined {
    const { reader, withheld } = this.#options;
    for (const older of reader.entriesOf?.(hashPart) ?? []) {
      const read = withheld.has(older.narInfo.fileHash) ? undefined : this.#read(older, hashPart);
      if (read !== undefined && 'text' in read) return read.text;
    }
    return undefined;
  }

  #read({ narInfo }: Entry, hashPart: HashPart): { readonly text: string } | { readonly refused: string } {
    const text = formatNarInfo({ ...narInfo, url: narUrl(narInfo.fileHash, narInfo.compression) });
    const fault = hashPartOf(narInfo.path) === hashPart ? faultOf(narInfo, text) : `it is about ${narInfo.path}`;
    if (fault !== undefined) return { refused: fault };
    return this.#options.trust.allows(narInfo) ? { text } : { refused: 'no trusted key signed it' };
  }

  #failed(path: string, hashPart: HashPart, error: unknown): string | undefined {
    this.#options.onEvent({ type: 'answer-failed', path, error: messageOf(error) });
    // Of an entry that cannot be parsed; what a reader has that fails otherwise fails here as well.
    return isNixcacheError(error, 'ERR_FORMAT') ? this.#findOlder(hashPart) : undefined;
  }
}

/** Answers with narinfos, which are given often: each with its reply made once, and kept. */
import { LRUCache } from 'lru-cache';
import { type Answer, SHORT_LIVED, textAnswer } from './answer.ts';
import { wholeReply } from './negotiate.ts';

/** 16 MiB of answers are about 10 000 narinfos: more than one machine's system has paths. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;
const ANSWER_OVERHEAD_BYTES = 600;

export function narInfoAnswer(text: string): Answer {
  const answer = textAnswer(text, 'text/x-nix-narinfo', SHORT_LIVED);
  return { ...answer, whole: wholeReply(answer) };
}

/** Without `ttlMs` for ever. */
export const keptAnswers = (ttlMs = 0): LRUCache<string, Answer> =>
  new LRUCache({
    maxSize: MAX_KEPT_BYTES,
    sizeCalculation: ({ body }) => ANSWER_OVERHEAD_BYTES + (typeof body === 'string' ? body.length : 0),
    ttl: ttlMs,
  });

/** Tells of requests that were refused: of each reason once a minute, for whoever asks may ask often. */
import { type Answer, statusAnswer } from './answer.ts';

/** Why a request does not go on. */
export interface Refusal {
  readonly answer: Answer;
  /** One of a few, in plain words and without anything secret. */
  readonly reason: string;
}

/** For want of a token, or of one that may. */
export interface RequestRefused {
  readonly type: 'request-refused';
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly reason: string;
  /** How often it was so before, and was not told. */
  readonly before: number;
}

/** Whether a page of another origin sent it: whoever is looked at in a browser on this machine may send a POST here. */
export function isFromElsewhere({ url, headers }: Request): boolean {
  const origin = headers.get('origin');
  if (origin !== null && URL.parse(origin)?.host !== (headers.get('host') ?? new URL(url).host)) return true;
  return ['cross-site', 'same-site'].includes(headers.get('sec-fetch-site') ?? '');
}

const REASON = 'a page of another origin may not ask for this';
export const FROM_ELSEWHERE: Refusal = { answer: statusAnswer(403, [], REASON), reason: REASON };

const TOLD_EVERY_MS = 60_000;

export class Refusals {
  readonly #onEvent: (event: RequestRefused) => void;
  readonly #now: () => Date;
  readonly #told = new Map<string, { readonly atMs: number; since: number }>();

  constructor(onEvent: (event: RequestRefused) => void, now: () => Date) {
    this.#onEvent = onEvent;
    this.#now = now;
  }

  /** @param path decoded, and without its query */
  tell(method: string, path: string, { answer: { status }, reason }: Refusal): void {
    const atMs = this.#now().getTime();
    const last = this.#told.get(reason);
    if (last !== undefined && atMs - last.atMs < TOLD_EVERY_MS) {
      last.since += 1;
      return;
    }
    this.#told.set(reason, { atMs, since: 0 });
    this.#onEvent({ type: 'request-refused', method, path, status, reason, before: last?.since ?? 0 });
  }
}

import { type Answer, SHORT_LIVED, textAnswer } from './answer.ts';
import { ready } from './negotiate.ts';

/** A narinfo as it is served, with its headers made once. */
export function narInfoAnswer(text: string): Answer {
  return ready(textAnswer(text, 'text/x-nix-narinfo', SHORT_LIVED));
}

import type { Answer } from './answer.ts';

/** One kind of URL. */
export interface Route {
  readonly methods: readonly string[];
  /** What answers `path`, which is decoded and starts with '/'; undefined if it is not this route's. */
  match(path: string): (() => Answer | Promise<Answer>) | undefined;
}

export const READ: readonly string[] = ['GET', 'HEAD'];
export const POST: readonly string[] = ['POST'];

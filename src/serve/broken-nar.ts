import { type ErrorCode, NixcacheError } from '../errors.ts';

/** A NAR that was there, and of which the rest could not be had however often it was tried. */
export class BrokenNarError extends NixcacheError {
  constructor(code: ErrorCode, cause: Error) {
    super(code, cause.message, { cause });
  }
}

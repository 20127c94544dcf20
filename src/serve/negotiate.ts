/** Conditions and ranges, once for all answers. Source: RFC 9110 sections 13 and 14. */
import { type Answer, isFileBody, NO_STORE, type Reply } from './answer.ts';
import { parseRange } from './range.ts';
import type { Conditions } from './request.ts';

/** `answer` as `conditions` want it: whole, part of it, or not at all. */
export function negotiate(conditions: Conditions, answer: Answer): Reply {
  const { status, etag, headers, body } = answer;
  const { ifNoneMatch, ifRange, range: wanted } = conditions;
  if (status !== 200) return wholeReply(answer);
  if (ifNoneMatch !== undefined && etag !== undefined && matches(ifNoneMatch, etag)) {
    return { status: 304, headers: [...headers, 'ETag', etag] };
  }
  const size = sizeOf(body);
  if (wanted === undefined || size === undefined || !takesRanges(answer)) return wholeReply(answer);
  // If-Range takes a strong tag only; a date never matches, for we know none.
  if (ifRange !== undefined && ifRange.trim() !== etag) return wholeReply(answer);
  const range = parseRange(wanted, size);
  if (range === undefined) return wholeReply(answer);
  if (range === 'unsatisfiable') {
    const refusal = ['Content-Range', `bytes */${size}`, 'Cache-Control', NO_STORE, 'Content-Length', '0'];
    return { status: 416, headers: refusal };
  }
  const { offset, length } = range;
  const part = isFileBody(body)
    ? { size: length, open: (options: { readonly signal: AbortSignal }) => body.open({ ...options, range }) }
    : body?.slice(offset, offset + length);
  const contentRange = `bytes ${offset}-${offset + length - 1}/${size}`;
  return {
    status: 206,
    headers: [...headers, ...validators(answer), 'Content-Range', contentRange, 'Content-Length', String(length)],
    body: part,
  };
}

/** `answer` with its reply made once, for answers that are given often. */
export const ready = (answer: Answer): Answer => ({ ...answer, whole: wholeReply(answer) });

function wholeReply(answer: Answer): Reply {
  if (answer.whole !== undefined) return answer.whole;
  const { status, headers, body } = answer;
  const size = sizeOf(body);
  const length = size === undefined ? [] : ['Content-Length', String(size)];
  return { status, headers: [...headers, ...validators(answer), ...length], body };
}

function validators(answer: Answer): string[] {
  const etag = answer.etag === undefined ? [] : ['ETag', answer.etag];
  return takesRanges(answer) ? [...etag, 'Accept-Ranges', 'bytes'] : etag;
}

/** Of what is made anew for each request (status, errors) a part makes no sense. */
const takesRanges = ({ status, etag, body }: Answer): boolean =>
  status === 200 && sizeOf(body) !== undefined && (etag !== undefined || isFileBody(body));

function sizeOf(body: Answer['body']): number | undefined {
  if (body === undefined) return 0;
  return isFileBody(body) ? body.size : body.length;
}

function matches(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  // Weak comparison: W/"x" matches "x".
  return ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}

/** Conditions and ranges, once for all answers. Source: RFC 9110 sections 13 and 14. */
import type { ByteRange } from '../streams/byte-range.ts';
import { type Answer, isFileBody, NO_STORE, type OpenOptions, type Reply } from './answer.ts';

/**
 * `answer` as `method` and the conditions in `headers` want it: whole, part of it, or not at all. Ranges are of GET alone, and
 * ignored with any other method (RFC 9110 section 14.2).
 */
export function negotiate({ method, headers }: Pick<Request, 'method' | 'headers'>, answer: Answer): Reply {
  const { status, etag, body } = answer;
  if (status !== 200) return wholeReply(answer);
  const ifNoneMatch = headers.get('if-none-match');
  if (ifNoneMatch !== null && etag !== undefined && matches(ifNoneMatch, etag)) {
    return { status: 304, headers: [...answer.headers, 'ETag', etag] };
  }
  const [wanted, ifRange] = [method === 'GET' ? headers.get('range') : null, headers.get('if-range')];
  const size = sizeOf(body);
  if (wanted === null || size === undefined || !takesRanges(answer)) return wholeReply(answer);
  // If-Range takes a strong tag only; a date never matches, for we know none.
  if (ifRange !== null && ifRange.trim() !== etag) return wholeReply(answer);
  const range = parseRange(wanted, size);
  if (range === undefined) return wholeReply(answer);
  if (range === 'unsatisfiable') {
    const refusal = ['Content-Range', `bytes */${size}`, 'Cache-Control', NO_STORE, 'Content-Length', '0'];
    return { status: 416, headers: refusal };
  }
  const { offset, length } = range;
  const part = isFileBody(body)
    ? { size: length, open: (options: OpenOptions) => body.open({ ...options, range }) }
    : body?.slice(offset, offset + length);
  const contentRange = `bytes ${offset}-${offset + length - 1}/${size}`;
  return {
    status: 206,
    headers: [...answer.headers, ...validators(answer), 'Content-Range', contentRange, 'Content-Length', `${length}`],
    body: part,
  };
}

/** The reply with all of `answer`, for requests without conditions. */
export function wholeReply(answer: Answer): Reply {
  if (answer.whole !== undefined) return answer.whole;
  const { status, headers, body } = answer;
  const size = sizeOf(body);
  const length = size === undefined ? [] : ['Content-Length', String(size)];
  return { status, headers: [...headers, ...validators(answer), ...length], body };
}

/**
 * The single range that `header` asks of `size` bytes: undefined when there is nothing to obey (another unit, several
 * ranges, not well formed), which is answered with the whole; 'unsatisfiable' when it lies outside.
 */
export function parseRange(header: string, size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, first, last] = /^bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*$/i.exec(header) ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined;
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === '' ? size - 1 : Number(last);
  if (end < offset && last !== '') return undefined;
  if (offset >= size) return 'unsatisfiable';
  return { offset, length: Math.min(end, size - 1) - offset + 1 };
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

/** Whether `etag` is among those that an If-None-Match header names. */
export function matches(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch.trim() === '*') return true;
  // Weak comparison: W/"x" matches "x".
  return ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}

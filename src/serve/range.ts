import type { ByteRange } from '../streams/byte-range.ts';
/** The Range header. Source: RFC 9110 section 14. */

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

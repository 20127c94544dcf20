import { pipeline, type Readable, Transform, type TransformCallback } from 'node:stream';
import { NixcacheError } from '../errors.ts';
import type { OpenRange } from './byte-range.ts';

/** The `range` of the bytes of `source`, which is closed with it. Ends in ERR_RANGE when `source` is too short. */
export function sliceStream(source: Readable, { offset, length = Number.POSITIVE_INFINITY }: OpenRange): Readable {
  let position = 0;
  const end = offset + length;
  const slice = new Transform({
    transform(chunk: Buffer, _encoding, callback: TransformCallback): void {
      const from = Math.max(0, offset - position);
      const to = Math.min(chunk.length, end - position);
      position += chunk.length;
      if (from < to) this.push(chunk.subarray(from, to));
      // What lies behind is still read: a source that ends in an error must not look whole.
      callback();
    },
    flush(callback: TransformCallback): void {
      const isShort = position < offset || (Number.isFinite(end) && position < end);
      callback(isShort ? new NixcacheError('ERR_RANGE', `the file ends at ${position}, before ${end}`) : null);
    },
  });
  pipeline(source, slice, () => {
    // Whoever reads the slice sees its error; pipeline only closes both together.
  });
  return slice;
}

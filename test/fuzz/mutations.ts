/** Foreign bytes: valid samples with something wrong. */
import fc from 'fast-check';
import { NASTY } from '../support/nasty-strings.ts';

const NUMBERS = ['-1', '0', '1e400', '4294967296', '9007199254740993', '99999999999999999999', '0x10', 'NaN', '-0'];
const PIECES = [
  ...NASTY,
  ...NUMBERS,
  ...[
    '',
    '\n',
    '\n\n',
    '\r\n',
    ': ',
    '=',
    ',',
    ';',
    '"',
    '\\',
    '/',
    '..',
    '%',
    '%00',
    '%zz',
    '<',
    '>',
    '{',
    '[',
    '}',
    ']',
  ],
  ...['null', 'true', '{}', '[]', '"__proto__"', '{"__proto__":1}', '[[[[[[[[', 'sha256:', '\ud800', '\ufeff', '😀'],
  'a'.repeat(3000),
  '['.repeat(3000),
].map((text) => Buffer.from(text));

interface Mutation {
  readonly kind: 'flip' | 'cut' | 'insert' | 'replace' | 'repeat' | 'splice' | 'number';
  /** Where, as a part of the whole; and how much. */
  readonly at: number;
  readonly length: number;
  readonly piece: number;
}

const mutation = (): fc.Arbitrary<Mutation> =>
  fc.record({
    kind: fc.constantFrom<Mutation['kind']>('flip', 'cut', 'insert', 'replace', 'repeat', 'splice', 'number'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat({ max: 64 }),
    piece: fc.nat({ max: 10_000 }),
  });

function apply(bytes: Buffer, { kind, at, length, piece }: Mutation, others: readonly Buffer[]): Buffer {
  const start = Math.floor(at * bytes.length);
  const [before, rest] = [bytes.subarray(0, start), bytes.subarray(start)];
  const inserted = PIECES[piece % PIECES.length] ?? Buffer.alloc(0);
  switch (kind) {
    case 'flip': {
      const flipped = Buffer.from(bytes);
      if (start < flipped.length) flipped[start] = (flipped[start] ?? 0) ^ (1 << (piece % 8));
      return flipped;
    }
    case 'cut':
      return length % 2 === 0 ? before : Buffer.concat([before, rest.subarray(length)]);
    case 'insert':
      return Buffer.concat([before, inserted, rest]);
    case 'replace':
      return Buffer.concat([before, inserted, rest.subarray(length)]);
    case 'repeat':
      return Buffer.concat([before, ...Array.from({ length: (piece % 50) + 1 }, () => rest.subarray(0, length)), rest]);
    case 'splice': {
      const other = others[piece % others.length] ?? Buffer.alloc(0);
      return Buffer.concat([before, other.subarray(Math.floor(at * other.length))]);
    }
    case 'number': {
      const text = bytes.toString('latin1');
      const numbers = [...text.matchAll(/-?[0-9]+/g)];
      const found = numbers[piece % Math.max(1, numbers.length)];
      if (!found) return bytes;
      const number = NUMBERS[length % NUMBERS.length] ?? '';
      return Buffer.from(text.slice(0, found.index) + number + text.slice(found.index + found[0].length), 'latin1');
    }
  }
}

/** One of `samples` after up to eight mutations; now and then it is not like them at all. */
export const foreign = (samples: readonly Buffer[]): fc.Arbitrary<Buffer> =>
  fc.oneof(
    {
      weight: 9,
      arbitrary: fc
        .tuple(fc.nat({ max: samples.length - 1 }), fc.array(mutation(), { maxLength: 8 }))
        .map(([sample, mutations]) =>
          mutations.reduce((bytes, each) => apply(bytes, each, samples), samples[sample] ?? Buffer.alloc(0)),
        ),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  );

import { Readable } from 'node:stream';
import type { OpenContent } from './content-store.ts';

/** Content that is at hand. */
export const bytesContent =
  (bytes: Uint8Array): OpenContent =>
  () =>
    Readable.from([bytes], { objectMode: false });

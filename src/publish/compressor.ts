/** Compressors for one NAR, fed chunk by chunk. A chunk belongs to the compressor until its `write` has resolved. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { constants, createZstdCompress } from 'node:zlib';
import { NixcacheError } from '../errors.ts';
import type { Compression } from './nar-job.ts';

export interface Compressor {
  write(chunk: Uint8Array): Promise<void>;
  finish(): Promise<void>;
  /** Frees it without finishing. */
  destroy(): void;
}

/** 64 KiB: larger ones are a little faster, and fragment the heap (330 instead of 280 MB resident, measured). */
export const OUTPUT_CHUNK_BYTES = 64 * 1024;
/** zstd's own default, and what Nix uses for `compression=zstd`. */
const DEFAULT_ZSTD_LEVEL = 3;
/**
 * 8 MiB, where level 3 has 2: 1.7 % smaller and no slower over 1 GiB of Debian packages (16 MiB gains nothing more), and
 * any decoder takes up to 128 MiB. zstd narrows it to the input by itself.
 */
const ZSTD_WINDOW_LOG = 23;
/** Levels from here on have a window of their own that is as large or larger. */
const WIDE_WINDOW_LEVEL = 18;
const DEFAULT_XZ_LEVEL = 6;

/** zstd's parameters for a level. */
export const zstdParams = (level: number = DEFAULT_ZSTD_LEVEL): Record<number, number> => ({
  [constants.ZSTD_c_compressionLevel]: level,
  ...(level < WIDE_WINDOW_LEVEL ? { [constants.ZSTD_c_windowLog]: ZSTD_WINDOW_LOG } : {}),
});

/** A compressor that hands its output, in chunks of its own, to `onOutput`. `size` is of the whole input, in bytes. */
export async function createCompressor(
  { method, level }: Compression,
  size: number,
  onOutput: (chunk: Uint8Array) => void,
): Promise<Compressor> {
  if (method === 'none') return plain(onOutput);
  if (method === 'zstd') {
    const params = zstdParams(level);
    return fromStream(createZstdCompress({ chunkSize: OUTPUT_CHUNK_BYTES, pledgedSrcSize: size, params }), onOutput);
  }
  return xz(level, onOutput);
}

async function xz(level: number | undefined, onOutput: (chunk: Uint8Array) => void): Promise<Compressor> {
  const { XzCompressor } = await import('@napi-rs/lzma').catch((cause: unknown) => {
    throw new NixcacheError(
      'ERR_USAGE',
      'xz compression needs the optional package @napi-rs/lzma, which is not installed; use zstd',
      { cause },
    );
  });
  const encoder = new XzCompressor({ preset: level ?? DEFAULT_XZ_LEVEL });
  const emit = (chunk: Uint8Array): void => {
    if (chunk.length > 0) onOutput(chunk);
  };
  return {
    write: async (chunk) => emit(encoder.update(chunk)),
    finish: async () => emit(await encoder.finish()),
    destroy: () => undefined,
  };
}

const plain = (onOutput: (chunk: Uint8Array) => void): Compressor => ({
  async write(chunk) {
    onOutput(Buffer.from(chunk)); // a copy: the chunk is overwritten by the next
  },
  finish: async () => undefined,
  destroy: () => undefined,
});

/**
 * Each write waits for the one before, and `end` for the last: zlib's zstd appends an empty frame when it is ended with
 * writes queued (nodejs/node#66078), which would make digests depend on timing.
 */
function fromStream(stream: Duplex, onOutput: (chunk: Uint8Array) => void): Compressor {
  let failed: Error | undefined;
  stream.on('data', onOutput);
  stream.on('error', (error) => {
    failed = error;
  });
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        stream.write(chunk, (error) => (error ? reject(error) : resolve()));
      }),
    async finish() {
      if (failed) throw failed;
      stream.end();
      await once(stream, 'end');
    },
    destroy: () => stream.destroy(),
  };
}

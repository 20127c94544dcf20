/** One path from the store to a compressed, hashed, checked NAR. Runs in worker threads; see nar-pool.ts. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { zstdCompressSync } from 'node:zlib';
import { PartWriter } from '../cache/part-writer.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../errors.ts';
import { hashFromBytes } from '../nix/hash.ts';
import { encodeNarListing } from '../nix/nar-listing.ts';
import { NarWriter } from '../nix/nar-writer.ts';
import { createCompressor, OUTPUT_CHUNK_BYTES, zstdParams } from './compressor.ts';
import type { NarJob, NarResult, WorkerReply, WorkerRequest } from './nar-job.ts';

/** 1 MiB: zlib's zstd is fastest with chunks of this size (measured), and a chunk is hashed while it compresses. */
const CHUNK_BYTES = 1024 * 1024;
/** NARs up to this size are compressed in one call, which is cheaper than a stream. */
const MAX_AT_ONCE_BYTES = 4 * 1024 * 1024;
/** One job at a time uses these. */
const chunkBuffer = Buffer.allocUnsafe(CHUNK_BYTES);
let busy = false;
const wholeBuffer = Buffer.allocUnsafe(MAX_AT_ONCE_BYTES);

/**
 * Serialises, hashes, compresses and hashes again. One call at a time: the buffers are the thread's.
 *
 * @throws {NixcacheError} ERR_NAR_MISMATCH when the contents are not what `job.narHash` says; nothing is left behind
 */
export async function runNarJob(job: NarJob, onProgress: (bytes: number) => void): Promise<NarResult> {
  if (busy) throw new Error('two NARs at once in one thread would overwrite each other');
  busy = true;
  const nar = new NarWriter(job.contentPath, { buffer: chunkBuffer, withListing: true });
  const hash = createHash('sha256');
  const output = new PartWriter(job);
  try {
    await (job.narSize <= MAX_AT_ONCE_BYTES && job.compression.method === 'zstd'
      ? compressAtOnce(nar, hash, job, output)
      : compressStream(nar, hash, job, output, onProgress));
    const narHash = hashFromBytes(hash.digest());
    if (nar.narSize !== job.narSize) throw mismatch(job, `its NAR is not ${job.narSize} bytes long`);
    if (narHash !== job.narHash) throw mismatch(job, `its NAR hash is ${narHash}, not ${job.narHash}`);
    const { listing } = nar;
    if (!listing) throw new Error('the NAR writer made no listing');
    return { ...output.finish(), listing: zstdCompressSync(encodeNarListing(listing)) };
  } catch (error) {
    output.discard();
    throw isNixcacheError(error, 'ERR_NOT_FOUND') ? mismatch(job, 'its files are gone') : error;
  } finally {
    nar.return();
    busy = false;
  }
}

const mismatch = (job: NarJob, what: string): NixcacheError =>
  new NixcacheError(
    'ERR_NAR_MISMATCH',
    `${job.storePath} is not what the Nix store's database says: ${what}; it was changed or damaged, try nix-store --repair-path`,
  );

type Hash = ReturnType<typeof createHash>;

async function compressAtOnce(nar: NarWriter, hash: Hash, job: NarJob, output: PartWriter): Promise<void> {
  let size = 0;
  for (const chunk of nar) {
    if (size + chunk.length > job.narSize) return; // the caller reports it
    wholeBuffer.set(chunk, size);
    size += chunk.length;
  }
  const whole = wholeBuffer.subarray(0, size);
  hash.update(whole);
  output.write(zstdCompressSync(whole, { params: zstdParams(job.compression.level), chunkSize: OUTPUT_CHUNK_BYTES }));
}

async function compressStream(
  nar: NarWriter,
  hash: Hash,
  job: NarJob,
  output: PartWriter,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const compressor = await createCompressor(job.compression, job.narSize, (chunk) => output.write(chunk));
  try {
    for (const chunk of nar) {
      if (nar.narSize > job.narSize) return; // the caller reports it
      const written = compressor.write(chunk);
      hash.update(chunk); // while zlib's own thread compresses it
      await written;
      onProgress(chunk.length);
    }
    if (nar.narSize !== job.narSize) return; // the caller reports it
    await compressor.finish();
  } finally {
    compressor.destroy();
  }
}

/** A view would be sent with all of the buffer that it is a view of. */
const exactCopy = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

/** A progress message costs a wake-up of the main thread: one for this many bytes is plenty. */
const PROGRESS_BYTES = 16 * 1024 * 1024;

/** Jobs wait for each other here; the pool sends one ahead so that this thread is never idle. */
let last: Promise<unknown> = Promise.resolve();

parentPort?.on('message', ({ id, job }: WorkerRequest) => {
  const reply = (message: WorkerReply): void => parentPort?.postMessage(message);
  let unreported = 0;
  const onProgress = (bytes: number): void => {
    unreported += bytes;
    if (unreported < PROGRESS_BYTES) return;
    reply({ id, progressBytes: unreported });
    unreported = 0;
  };
  const run = last.then(() => runNarJob(job, onProgress));
  last = run.catch(() => undefined); // reported below; the next job does not mind
  run.then(
    (result) => {
      const bytes = result.bytes && exactCopy(result.bytes);
      const listing = exactCopy(result.listing);
      const transfer = [bytes?.buffer, listing.buffer].filter((buffer) => buffer !== undefined);
      parentPort?.postMessage({ id, result: { ...result, bytes, listing } } satisfies WorkerReply, transfer);
    },
    (error: unknown) => {
      const code = error instanceof NixcacheError ? error.code : undefined;
      const message = code === undefined && error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      reply({ id, error: { code, message } });
    },
  );
});
